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

template <typename Decode, typename Bytes>
class Simple final : public Decoder {
 public:
  Simple(Decode decode, Bytes bytes) : decode_(std::move(decode)), bytes_(std::move(bytes)) {}
  Tokens decode(Tokens tokens) const override { return decode_(std::move(tokens)); }
  std::string bytes(std::string token) const override { return bytes_(std::move(token)); }

 private:
  Decode decode_;
  Bytes bytes_;
};

template <typename Decode, typename Bytes>
std::unique_ptr<Decoder> simple(Decode decode, Bytes bytes) {
  return std::make_unique<Simple<Decode, Bytes>>(std::move(decode), std::move(bytes));
}

// Of decoders that change nothing but a text's ends.
std::string same(std::string token) {
  return token;
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
std::string byte_level_bytes(std::string token) {
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

std::string byte_fallback_bytes(std::string token) {
  const auto byte = parse_byte_token(token);
  return byte ? std::string(1, static_cast<char>(*byte)) : token;
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

  std::string bytes(std::string token) const {
    token = token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
    return cleanup ? clean_up(std::move(token)) : token;
  }

  Tokens decode(Tokens tokens) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        tokens[i] = bytes(std::move(tokens[i]));
      } else if (cleanup) {
        tokens[i] = clean_up(std::move(tokens[i]));
      }
    }
    return tokens;
  }
};

// Connectionist temporal classification (Graves et al. 2006): repeats are one token, pads are none.
struct Ctc {
  std::string pad_token, word_delimiter_token;
  bool cleanup;

  std::string bytes(std::string token) const {
    token = replace_all(token, pad_token, "");
    return cleanup ? replace_all(clean_up(std::move(token)), word_delimiter_token, " ") : token;
  }

  Tokens decode(Tokens tokens) const {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) token = bytes(std::move(token));
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
  std::string bytes(std::string token) const override {
    for (const auto& part : parts_) token = part->bytes(std::move(token));
    return token;
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

Result<std::unique_ptr<Decoder>> read_sequence(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const JsonNode list, node.array("decoders"));
  std::vector<std::unique_ptr<Decoder>> parts;
  for (std::size_t i = 0; i < list.value().size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(auto part, read_decoder(list.at(i)));
    parts.push_back(std::move(part));
  }
  return std::unique_ptr<Decoder>(std::make_unique<Sequence>(std::move(parts)));
}

Result<std::unique_ptr<Decoder>> read_strip(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string content, node.text("content"));
  KVASIR_ASSIGN_OR_RETURN(const int start, node.count("start", 0));
  KVASIR_ASSIGN_OR_RETURN(const int stop, node.count("stop", 0));
  if (num_characters(content) != 1) return node.corrupt("one character", "content");
  const auto decode = [content, start, stop](Tokens tokens) {
    for (std::string& token : tokens) token = strip(token, content, start, stop);
    return tokens;
  };
  return simple(decode, same);
}

}  // namespace

Result<std::unique_ptr<Decoder>> read_decoder(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string type, node.text("type"));
  if (type == "Sequence") return read_sequence(node);
  if (type == "ByteLevel") return simple(decode_byte_level, byte_level_bytes);
  if (type == "ByteFallback") return simple(decode_byte_fallback, byte_fallback_bytes);
  if (type == "Fuse") return simple([](const Tokens& tokens) { return Tokens{join(tokens)}; }, same);
  if (type == "Strip") return read_strip(node);
  if (type == "Metaspace") {
    KVASIR_ASSIGN_OR_RETURN(const Metaspace metaspace, Metaspace::read(node));
    return simple([metaspace](Tokens tokens) { return decode_metaspace(metaspace, std::move(tokens)); },
                  [metaspace](const std::string& token) { return replace_all(token, metaspace.replacement, " "); });
  }
  if (type == "WordPiece") {
    KVASIR_ASSIGN_OR_RETURN(const std::string prefix, node.text("prefix", "##"));
    KVASIR_ASSIGN_OR_RETURN(const bool cleanup, node.boolean("cleanup", true));
    const WordPiece word_piece{prefix, cleanup};
    return simple([word_piece](Tokens tokens) { return word_piece.decode(std::move(tokens)); },
                  [word_piece](std::string token) { return word_piece.bytes(std::move(token)); });
  }
  if (type == "BPEDecoder") {
    KVASIR_ASSIGN_OR_RETURN(const std::string suffix, node.text("suffix", "</w>"));
    const auto decode = [suffix](Tokens tokens) {
      for (std::string& token : tokens)
        token = replace_all(token, suffix, &token == &tokens.back() ? "" : " ");
      return tokens;
    };
    return simple(decode, [suffix](const std::string& token) { return replace_all(token, suffix, " "); });
  }
  if (type == "CTC") {
    Ctc ctc{};
    KVASIR_ASSIGN_OR_RETURN(ctc.pad_token, node.text("pad_token", "<pad>"));
    KVASIR_ASSIGN_OR_RETURN(ctc.word_delimiter_token, node.text("word_delimiter_token", "|"));
    KVASIR_ASSIGN_OR_RETURN(ctc.cleanup, node.boolean("cleanup", true));
    return simple([ctc](Tokens tokens) { return ctc.decode(std::move(tokens)); },
                  [ctc](std::string token) { return ctc.bytes(std::move(token)); });
  }
  if (type == "Replace") {
    KVASIR_ASSIGN_OR_RETURN(Replace replace, Replace::read(node));
    const auto shared = std::make_shared<const Replace>(std::move(replace));  // by the two functions
    const auto decode = [shared](Tokens tokens) {
      for (std::string& token : tokens) token = (*shared)(token);
      return tokens;
    };
    return simple(decode, [shared](const std::string& token) { return (*shared)(token); });
  }
  return node.unsupported("decoder", type);
}

}  // namespace kvasir::tokenizer
