#include "tokenizer/decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/byte_token.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/replace.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

using Tokens = std::vector<std::string>;

template <typename Function, typename InMiddle>
class Simple final : public Decoder {
 public:
  Simple(Function function, InMiddle in_middle)
      : function_(std::move(function)), in_middle_(std::move(in_middle)) {}
  Tokens decode(Tokens tokens) const override { return function_(std::move(tokens)); }
  void decode_in_middle(MiddleToken& token) const override { in_middle_(token); }

 private:
  Function function_;
  InMiddle in_middle_;
};

template <typename Function, typename InMiddle>
std::unique_ptr<Decoder> simple(Function function, InMiddle in_middle) {
  return std::make_unique<Simple<Function, InMiddle>>(std::move(function), std::move(in_middle));
}

// A step that makes one text of each token, whatever the others are.
template <typename Function>
class TokenByToken final : public Decoder {
 public:
  explicit TokenByToken(Function function) : function_(std::move(function)) {}
  Tokens decode(Tokens tokens) const override { return function_(std::move(tokens)); }
  void decode_in_middle(MiddleToken& token) const override {
    // A part of a character (ByteFallback's) is left alone, as it would be within its whole character.
    if (is_valid_utf8(token.text)) token.text = function_({"", token.text, ""})[1];
  }

 private:
  Function function_;
};

template <typename Function>
std::unique_ptr<Decoder> token_by_token(Function function) {
  return std::make_unique<TokenByToken<Function>>(std::move(function));
}

std::string join(const Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t found; !from.empty() && (found = text.find(from, at)) != text.npos;
       at = found + from.size()) {
    out += text.substr(at, found - at);
    out += to;
  }
  out += text.substr(at);
  return out;
}

// A token with a character outside of the alphabet (an added one) stands for its own bytes.
std::string byte_level_bytes(const std::string& token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const Decoded decoded = decode_at(token, at);
    const auto byte = from_byte_alphabet(decoded.character);
    if (!byte) return token;
    bytes += static_cast<char>(*byte);
    at = decoded.end;
  }
  return bytes;
}

Tokens decode_byte_level(const Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += byte_level_bytes(token);
  return {to_valid_utf8(bytes)};
}

// A run of byte tokens is a text when it is valid UTF-8, else a replacement character for each byte.
Tokens decode_byte_fallback(const Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const auto byte = parse_byte_token(token)) {
      bytes += static_cast<char>(*byte);
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

// English contractions and punctuation without the space before them.
std::string clean_up(std::string text) {
  constexpr std::pair<const char*, const char*> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

struct WordPiece {
  std::string prefix;
  bool cleanup;

  Tokens operator()(Tokens tokens) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0)
        tokens[i] = tokens[i].starts_with(prefix) ? tokens[i].substr(prefix.size()) : " " + tokens[i];
      if (cleanup) tokens[i] = clean_up(std::move(tokens[i]));
    }
    return tokens;
  }
};

// Connectionist temporal classification (Graves et al. 2006): repeats are one token, pads are none.
struct Ctc {
  std::string pad_token, word_delimiter_token;
  bool cleanup;

  Tokens operator()(Tokens tokens) const {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      token = replace_all(token, pad_token, "");
      if (cleanup) token = replace_all(clean_up(std::move(token)), word_delimiter_token, " ");
    }
    std::erase(tokens, "");
    return tokens;
  }
};

std::string strip(std::string_view text, std::string_view content, int start, int stop) {
  for (int i = 0; i < start && text.starts_with(content); ++i) text.remove_prefix(content.size());
  for (int i = 0; i < stop && text.ends_with(content); ++i) text.remove_suffix(content.size());
  return std::string(text);
}

Tokens decode_metaspace(const Metaspace& metaspace, Tokens tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool drops = i == 0 && metaspace.scheme != PrependScheme::kNever;
    tokens[i] = replace_all(tokens[i], metaspace.replacement, drops ? "" : " ");
  }
  return tokens;
}

class Sequence final : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> parts) : parts_(std::move(parts)) {}
  Tokens decode(Tokens tokens) const override {
    for (const auto& part : parts_) tokens = part->decode(std::move(tokens));
    return tokens;
  }
  void decode_in_middle(MiddleToken& token) const override {
    for (const auto& part : parts_) part->decode_in_middle(token);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

Result<std::unique_ptr<Decoder>> read_strip(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string content, node.text("content"));
  KVASIR_ASSIGN_OR_RETURN(const int start, node.count("start", 0));
  KVASIR_ASSIGN_OR_RETURN(const int stop, node.count("stop", 0));
  if (num_characters(content) != 1) return node.corrupt("one character", "content");
  return simple(
      [content, start, stop](Tokens tokens) {
        for (std::string& token : tokens) token = strip(token, content, start, stop);
        return tokens;
      },
      [content, start, stop](MiddleToken& token) {
        if (!token.is_fused) token.text = strip(token.text, content, start, stop);
      });
}

}  // namespace

Result<std::unique_ptr<Decoder>> read_decoder(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string type, node.text("type"));
  if (type == "Sequence") {
    KVASIR_ASSIGN_OR_RETURN(auto parts, node.each("decoders", read_decoder));
    return std::unique_ptr<Decoder>(std::make_unique<Sequence>(std::move(parts)));
  }
  if (type == "ByteLevel") {
    return simple(decode_byte_level, [](MiddleToken& token) {
      token = {byte_level_bytes(token.text), /*is_fused=*/true};
    });
  }
  if (type == "ByteFallback") {
    return simple(decode_byte_fallback, [](MiddleToken& token) {
      if (const auto byte = parse_byte_token(token.text)) token.text = static_cast<char>(*byte);
    });
  }
  if (type == "Fuse") {
    return simple([](const Tokens& tokens) { return Tokens{join(tokens)}; },
                  [](MiddleToken& token) { token.is_fused = true; });
  }
  if (type == "Strip") return read_strip(node);
  if (type == "Metaspace") {
    KVASIR_ASSIGN_OR_RETURN(const Metaspace metaspace, Metaspace::read(node));
    return token_by_token(
        [metaspace](Tokens tokens) { return decode_metaspace(metaspace, std::move(tokens)); });
  }
  if (type == "WordPiece") {
    KVASIR_ASSIGN_OR_RETURN(const std::string prefix, node.text("prefix", "##"));
    KVASIR_ASSIGN_OR_RETURN(const bool cleanup, node.boolean("cleanup", true));
    return token_by_token(WordPiece{prefix, cleanup});
  }
  if (type == "BPEDecoder") {
    KVASIR_ASSIGN_OR_RETURN(const std::string suffix, node.text("suffix", "</w>"));
    return token_by_token([suffix](Tokens tokens) {
      for (std::string& token : tokens)
        token = replace_all(token, suffix, &token == &tokens.back() ? "" : " ");
      return tokens;
    });
  }
  if (type == "CTC") {
    Ctc ctc{};
    KVASIR_ASSIGN_OR_RETURN(ctc.pad_token, node.text("pad_token", "<pad>"));
    KVASIR_ASSIGN_OR_RETURN(ctc.word_delimiter_token, node.text("word_delimiter_token", "|"));
    KVASIR_ASSIGN_OR_RETURN(ctc.cleanup, node.boolean("cleanup", true));
    return simple(ctc, [ctc](MiddleToken& token) { token.text = join(ctc({token.text})); });
  }
  if (type == "Replace") {
    KVASIR_ASSIGN_OR_RETURN(Replace replace, Replace::read(node));
    return token_by_token([replace = std::move(replace)](Tokens tokens) {
      for (std::string& token : tokens) token = replace(token);
      return tokens;
    });
  }
  return node.unsupported("decoder", type);
}

}  // namespace kvasir::tokenizer
