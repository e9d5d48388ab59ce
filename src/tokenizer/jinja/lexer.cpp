#include "tokenizer/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

bool is_digit_of(char c, int base) {
  const int value = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : 99;
  return value < base;
}

// \r\n and \r as \n; without the newline that ends the last line.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) KVASIR_RETURN_IF_ERROR(text_and_tag());
    push(TokenType::kEnd);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return source_.substr(at_); }

  // Moves on by `size` bytes, which end a match of the lexer: what follows may be at the start of a line.
  void advance(std::size_t size) {
    const std::string_view passed = source_.substr(at_, size);
    line_ += static_cast<int>(std::ranges::count(passed, '\n'));
    at_ += size;
  }

  void end_match() { is_at_line_start_ = at_ > 0 && source_[at_ - 1] == '\n'; }

  void push(TokenType type, std::string text = "") { tokens_.push_back({type, line_, std::move(text)}); }

  Status fail(std::string_view what) const { return error(StatusCode::kCorrupt, "line {}: {}", line_, what); }

  std::size_t whitespace_at(std::size_t at) const {
    std::size_t end = at;
    while (end < source_.size()) {
      const auto [c, next] = decode_at(source_, end);
      if (!is_space(c)) break;
      end = next;
    }
    return end - at;
  }

  // The size of the tag's end at `at` (%} or #}), with the white space that goes with it: with - all behind
  // it, without a sign one newline. 0: there is none.
  std::size_t tag_end_at(std::size_t at, std::string_view end) const {
    std::string_view text = source_.substr(at);
    const char sign = text.empty() ? '\0' : text[0];
    const bool has_sign = sign == '-' || sign == '+';
    if (has_sign) text.remove_prefix(1);
    if (!text.starts_with(end)) return 0;
    const std::size_t size = end.size() + (has_sign ? 1 : 0);
    if (sign == '-') return size + whitespace_at(at + size);
    return size + (!has_sign && source_.substr(at + size).starts_with('\n') ? 1 : 0);
  }

  // {% raw %} at the place: its size, 0 when it is none; the sign of its beginning.
  std::size_t raw_begin(char& sign) const {
    if (!rest().starts_with("{%")) return 0;
    std::size_t at = at_ + 2;
    sign = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at++] : '\0';
    at += whitespace_at(at);
    if (!source_.substr(at).starts_with("raw")) return 0;
    at += 3;
    at += whitespace_at(at);
    if (source_.substr(at).starts_with("-%}")) return at + 3 + whitespace_at(at + 3) - at_;
    return source_.substr(at).starts_with("%}") ? at + 2 - at_ : 0;
  }

  // Text before a tag, stripped on its right side as the tag's sign says.
  void push_data(std::string_view text, char sign, bool strips_blocks) {
    std::string_view kept = text;
    if (sign == '-') {
      kept = strip(text, Side::kRight);
    } else if (sign != '+' && strips_blocks) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line_start = newline == text.npos ? 0 : newline + 1;
      const bool is_line = line_start > 0 || is_at_line_start_;
      if (is_line && is_space_text(text.substr(line_start))) kept = text.substr(0, line_start);
    }
    if (!kept.empty()) push(TokenType::kData, std::string(kept));
  }

  // Text up to the next tag, and that tag whole.
  Status text_and_tag() {
    std::size_t begin = at_;
    while (begin + 1 < source_.size()) {
      begin = source_.find('{', begin);
      if (begin == source_.npos || begin + 1 >= source_.size()) break;
      const char c = source_[begin + 1];
      if (c == '%' || c == '{' || c == '#') break;
      ++begin;
    }
    if (begin == source_.npos || begin + 1 >= source_.size()) {
      push(TokenType::kData, std::string(rest()));
      advance(rest().size());
      return Status();
    }
    const std::string_view text = source_.substr(at_, begin - at_);
    const char kind = source_[begin + 1];
    const std::size_t text_begin = at_;
    const int text_line = line_;
    at_ = begin;
    char sign = '\0';
    const std::size_t raw_size = raw_begin(sign);
    if (raw_size == 0) {
      const char next = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
      sign = next == '-' || next == '+' ? next : '\0';
    }
    at_ = text_begin;
    line_ = text_line;
    push_data(text, sign, kind != '{');
    advance(text.size());
    if (raw_size != 0) return raw(raw_size);
    const std::size_t size = sign == '\0' ? 2 : 3;
    if (kind == '#') return comment(size);
    push(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin);
    advance(size);
    end_match();
    return tag(kind == '{');
  }

  Status comment(std::size_t begin_size) {
    const std::size_t end = source_.find("#}", at_ + begin_size);
    if (end == source_.npos) return fail("Missing end of comment tag");
    const bool has_sign = end > at_ + begin_size && (source_[end - 1] == '-' || source_[end - 1] == '+');
    const std::size_t end_at = has_sign ? end - 1 : end;
    advance(end_at + tag_end_at(end_at, "#}") - at_);
    end_match();
    return Status();
  }

  // From {% raw %} to {% endraw %}: all of it text.
  Status raw(std::size_t begin_size) {
    advance(begin_size);
    end_match();
    for (std::size_t begin = at_; (begin = source_.find("{%", begin)) != source_.npos; ++begin) {
      std::size_t at = begin + 2;
      const char sign =
          at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at++] : '\0';
      at += whitespace_at(at);
      if (!source_.substr(at).starts_with("endraw")) continue;
      at += 6;
      at += whitespace_at(at);
      const std::size_t end_size = tag_end_at(at, "%}");
      if (end_size == 0) continue;
      push_data(source_.substr(at_, begin - at_), sign, true);
      advance(at + end_size - at_);
      end_match();
      return Status();
    }
    return fail("Missing end of raw directive");
  }

  // The tokens of a tag up to its end.
  Status tag(bool is_variable) {
    open_.clear();
    while (true) {
      advance(whitespace_at(at_));
      if (at_ >= source_.size()) return Status();  // the parser says what is missing
      std::size_t end_size = 0;
      if (open_.empty() && is_variable) {
        if (rest().starts_with("}}")) end_size = 2;
        if (rest().starts_with("-}}")) end_size = 3 + whitespace_at(at_ + 3);
      } else if (open_.empty()) {
        end_size = tag_end_at(at_, "%}");
      }
      if (end_size != 0) {
        push(is_variable ? TokenType::kVariableEnd : TokenType::kBlockEnd);
        advance(end_size);
        end_match();
        return Status();
      }
      KVASIR_RETURN_IF_ERROR(token());
    }
  }

  Status token() {
    const char c = source_[at_];
    if (c >= '0' && c <= '9') return number();
    if (c == '"' || c == '\'') return string(c);
    std::size_t end = at_;
    while (end < source_.size()) {
      const auto [character, next] = decode_at(source_, end);
      if (!is_word(character) && !is_numeric(character)) break;
      end = next;
    }
    if (end > at_) {
      const std::string_view name = source_.substr(at_, end - at_);
      if (!is_identifier(name)) return fail("Invalid character in identifier");
      push(TokenType::kName, std::string(name));
      advance(name.size());
      return Status();
    }
    return operator_token();
  }

  Status operator_token() {
    constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/",
                                               "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                               ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view sign : kOperators) {
      if (!rest().starts_with(sign)) continue;
      const char c = sign[0];
      if (c == '(' || c == '[' || c == '{') open_ += c == '(' ? ')' : c == '[' ? ']' : '}';
      if (c == ')' || c == ']' || c == '}') {
        if (open_.empty()) return fail(fmt::format("unexpected '{}'", c));
        if (open_.back() != c) return fail(fmt::format("unexpected '{}', expected '{}'", c, open_.back()));
        open_.pop_back();
      }
      push(TokenType::kOperator, std::string(sign));
      advance(sign.size());
      return Status();
    }
    const std::size_t end = decode_at(source_, at_).end;
    return fail(fmt::format("unexpected char '{}'", source_.substr(at_, end - at_)));
  }

  // The digits at `at`, with single underscores between them: where they end; `at` when there are none.
  std::size_t digits_end(std::size_t at, int base) const {
    std::size_t end = at;
    while (end < source_.size()) {
      const std::size_t digit = end > at && source_[end] == '_' ? end + 1 : end;
      if (digit >= source_.size() || !is_digit_of(source_[digit], base)) break;
      end = digit + 1;
    }
    return end;
  }

  // Where a float that begins here ends; the place itself when there is none.
  std::size_t float_end() const {
    if (at_ > 0 && source_[at_ - 1] == '.') return at_;  // x.0.1 are two indices
    std::size_t end = digits_end(at_, 10);
    bool is_float = false;
    if (end < source_.size() && source_[end] == '.') {
      const std::size_t fraction = digits_end(end + 1, 10);
      is_float = fraction > end + 1;
      if (is_float) end = fraction;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
      const std::size_t exponent_end = digits_end(exponent, 10);
      if (exponent_end > exponent) return exponent_end;
    }
    return is_float ? end : at_;
  }

  Status number() {
    std::size_t end = float_end();
    if (end > at_) {
      std::string text(source_.substr(at_, end - at_));
      std::erase(text, '_');
      push(TokenType::kFloat);
      tokens_.back().real = std::strtod(text.c_str(), nullptr);
      advance(end - at_);
      return Status();
    }
    int base = 10;
    std::size_t begin = at_;
    if (source_[at_] == '0') {
      const char letter = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
      const int prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
      std::size_t digits = at_ + 2;
      if (prefix != 0 && digits < source_.size() && source_[digits] == '_') ++digits;
      if (prefix != 0 && digits_end(digits, prefix) > digits) {
        base = prefix;
        begin = digits;
      }
    }
    // 0 is followed by nothing but more of it.
    end = base == 10 && source_[at_] == '0' ? digits_end(at_, 1) : digits_end(begin, base);
    Int value = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const char c = source_[i];
      if (c == '_') continue;
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      if (__builtin_mul_overflow(value, Int{base}, &value) ||
          __builtin_add_overflow(value, Int{digit}, &value)) {
        return error(StatusCode::kUnsupported, "line {}: integers beyond 128 bits are not supported", line_);
      }
    }
    push(TokenType::kInteger);
    tokens_.back().integer = value;
    advance(end - at_);
    return Status();
  }

  Status string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return fail(fmt::format("unexpected char '{}'", quote));
    std::string text;
    KVASIR_RETURN_IF_ERROR(unescape(source_.substr(at_ + 1, end - at_ - 1), text));
    push(TokenType::kString, std::move(text));
    advance(end + 1 - at_);
    return Status();
  }

  // Python's escapes of string literals.
  Status unescape(std::string_view in, std::string& out) const {
    for (std::size_t i = 0; i < in.size();) {
      if (in[i] != '\\') {
        out += in[i++];
        continue;
      }
      const char c = in[i + 1];
      constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
      if (const std::size_t known = kLetters.find(c); known != kLetters.npos) {
        out += kMeanings[known];
        i += 2;
      } else if (c == '\n') {
        i += 2;
      } else if (is_digit_of(c, 8)) {
        std::uint32_t code = 0;
        std::size_t end = i + 1;
        while (end < in.size() && end < i + 4 && is_digit_of(in[end], 8)) code = code * 8 + (in[end++] - '0');
        append(out, code);
        i = end;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const std::size_t num_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        const std::string_view digits = in.substr(i + 2, num_digits);
        std::uint32_t code = 0;
        const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        const bool is_whole = digits.size() == num_digits && read.ptr == digits.data() + digits.size();
        if (!is_whole) return fail(fmt::format("truncated \\{} escape", c));
        if (code > 0x10FFFF) return fail("illegal Unicode character");
        if (code >= 0xD800 && code < 0xE000) {
          return error(StatusCode::kUnsupported, "line {}: surrogates in strings are not supported", line_);
        }
        append(out, code);
        i += 2 + num_digits;
      } else if (c == 'N') {
        return error(StatusCode::kUnsupported, "line {}: \\N{{...}} in strings is not supported", line_);
      } else if (static_cast<unsigned char>(c) < 0x80) {
        out += '\\';
        out += c;
        i += 2;
      } else {  // jinja2 spells the character as an escape, of which this backslash becomes part
        const auto [character, end] = decode_at(in, i + 1);
        const auto code = static_cast<std::uint32_t>(character);
        out += code < 0x100     ? fmt::format("\\x{:02x}", code)
               : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                : fmt::format("\\U{:08x}", code);
        i = end;
      }
    }
    return Status();
  }

  const std::string_view source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool is_at_line_start_ = true;
  std::string open_;  // the closing brackets that are to come, the next one last
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::describe() const {
  switch (type) {
    case TokenType::kData:
      return "template data / text";
    case TokenType::kVariableBegin:
      return "begin of print statement";
    case TokenType::kVariableEnd:
      return "end of print statement";
    case TokenType::kBlockBegin:
      return "begin of statement block";
    case TokenType::kBlockEnd:
      return "end of statement block";
    case TokenType::kString:
      return "string";
    case TokenType::kInteger:
      return "integer";
    case TokenType::kFloat:
      return "float";
    case TokenType::kName:
    case TokenType::kOperator:
      return text;
    case TokenType::kEnd:
      return "end of template";
  }
  return "";
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  const std::string normalized = normalize_newlines(source);
  return Lexer(normalized).run();
}

}  // namespace kvasir::tokenizer::jinja
