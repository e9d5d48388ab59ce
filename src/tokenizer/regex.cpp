#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"

namespace kvasir::tokenizer {
namespace {

// What \s and \w are in Oniguruma (Unicode's White_Space and word characters), as members of a class.
constexpr std::string_view kSpaceMembers = R"(\p{Z}\x09-\x0d\x{85})";
constexpr std::string_view kWordMembers = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";

// Rewrites the escapes whose meaning differs between Oniguruma and PCRE2, and Oniguruma's class
// intersections.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '[') {
        out_ += read_class();
      } else {
        out_ += read_escape_or_char(false);
      }
    }
    return std::move(out_);
  }

 private:
  // An escape, translated, or one character.
  std::string read_escape_or_char(bool in_class) {
    if (pattern_[at_] != '\\' || at_ + 1 == pattern_.size()) return std::string(1, pattern_[at_++]);
    const char kind = pattern_[at_ + 1];
    at_ += 2;
    std::string_view members;
    switch (kind) {
      case 's':
      case 'S':
        members = kSpaceMembers;
        break;
      case 'w':
      case 'W':
        members = kWordMembers;
        break;
      case 'h':
      case 'H':
        members = "0-9a-fA-F";
        break;
      default:
        return std::string{'\\', kind};
    }
    const bool negated = kind < 'a';
    if (!in_class) return std::string(negated ? "[^" : "[") + std::string(members) + "]";
    // A negated class within a class: PCRE2 has its own \S and \W there, which differ in a handful of
    // characters.
    return negated ? std::string{'\\', kind} : std::string(members);
  }

  // A class from its bracket on. [a&&[b]] becomes (?:(?=[b])[a]).
  std::string read_class() {
    std::string text = "[";
    ++at_;
    if (at_ < pattern_.size() && pattern_[at_] == '^') text += pattern_[at_++];
    if (at_ < pattern_.size() && pattern_[at_] == ']') {
      text += "\\]";
      ++at_;
    }
    std::string conditions;
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      const std::string_view rest = pattern_.substr(at_);
      if (rest.starts_with("[:")) {
        const std::size_t end = rest.find(":]");
        const std::size_t length = end == rest.npos ? rest.size() : end + 2;
        text += rest.substr(0, length);
        at_ += length;
      } else if (rest.starts_with("&&[")) {
        at_ += 2;
        conditions += "(?=" + read_class() + ")";
      } else {
        text += read_escape_or_char(true);
      }
    }
    if (at_ < pattern_.size()) text += pattern_[at_++];  // an open class is PCRE2's to refuse
    return conditions.empty() ? text : "(?:" + conditions + text + ")";
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

struct Regex::Code {
  ~Code() { pcre2_code_free(compiled); }
  pcre2_code* compiled = nullptr;
  std::optional<std::string> literal;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(const std::string& where, std::string_view pattern) {
  if (pattern.size() > 10'000) {
    return error(StatusCode::kUnsupported, "{}: a pattern of {} bytes; at most 10000 are supported", where,
                 pattern.size());
  }
  const std::string translated = Translator(pattern).run();
  int code = 0;
  PCRE2_SIZE place = 0;
  auto result = std::make_unique<Code>();
  result->compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &place, nullptr);
  if (result->compiled == nullptr) {
    PCRE2_UCHAR message[200] = {};
    pcre2_get_error_message(code, message, sizeof message);
    return error(StatusCode::kUnsupported, "{}: pattern at byte {}: {}", where, place,
                 reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(result->compiled, PCRE2_JIT_COMPLETE);  // without JIT it is interpreted
  return Regex(std::move(result));
}

Regex Regex::literal(std::string_view text) {
  auto result = std::make_unique<Code>();
  result->literal = std::string(text);
  return Regex(std::move(result));
}

std::vector<Range> Regex::find_all(std::string_view text) const {
  std::vector<Range> matches;
  if (code_->literal) {
    const std::string& needle = *code_->literal;
    if (needle.empty()) return matches;
    for (std::size_t at = text.find(needle); at != text.npos; at = text.find(needle, at + needle.size())) {
      matches.push_back({at, at + needle.size()});
    }
    return matches;
  }
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  KVASIR_CHECK(data != nullptr);
  const PCRE2_SIZE* place = pcre2_get_ovector_pointer(data);
  std::size_t at = 0;
  std::uint32_t options = PCRE2_NO_UTF_CHECK;
  while (at <= text.size()) {
    const int count = pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                  options, data, nullptr);
    if (count < 0) break;
    if (place[1] > place[0]) {
      matches.push_back({place[0], place[1]});
      at = place[1];
    } else {
      // An empty match splits nothing; go on after the next character.
      at = std::max(at, static_cast<std::size_t>(place[1])) + 1;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    }
  }
  pcre2_match_data_free(data);
  return matches;
}

}  // namespace kvasir::tokenizer
