#include "tokenizer/post_processor.h"

#include <string>
#include <utility>

namespace kvasir::tokenizer {
namespace {

// ["[CLS]", 101] under the key.
Result<TokenId> read_pair(const JsonNode& node, const char* key) {
  KVASIR_ASSIGN_OR_RETURN(const JsonNode pair, node.array(key));
  const nlohmann::json& value = pair.value();
  if (value.size() != 2 || !value[1].is_number_unsigned() || value[1].get<std::uint64_t>() > INT32_MAX) {
    return pair.corrupt("[token, id]");
  }
  return value[1].get<TokenId>();
}

}  // namespace

Result<PostProcessor> PostProcessor::read(const JsonNode& node) {
  PostProcessor result;
  KVASIR_RETURN_IF_ERROR(result.read_into(node));
  return result;
}

Status PostProcessor::read_into(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string type, node.text("type"));
  if (type == "ByteLevel") return Status();  // changes offsets only
  if (type == "TemplateProcessing") return read_template(node);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    KVASIR_ASSIGN_OR_RETURN(const TokenId cls, read_pair(node, "cls"));
    KVASIR_ASSIGN_OR_RETURN(const TokenId sep, read_pair(node, "sep"));
    templates_.push_back({cls, std::nullopt, sep});
    return Status();
  }
  if (type == "Sequence") {
    KVASIR_ASSIGN_OR_RETURN(const JsonNode list, node.array("processors"));
    for (std::size_t i = 0; i < list.value().size(); ++i) KVASIR_RETURN_IF_ERROR(read_into(list.at(i)));
    return Status();
  }
  return node.unsupported("post-processor", type);
}

Status PostProcessor::read_template(const JsonNode& node) {
  Template result;
  KVASIR_ASSIGN_OR_RETURN(const JsonNode single, node.array("single"));
  for (std::size_t i = 0; i < single.value().size(); ++i) {
    const JsonNode item = single.at(i);
    if (item.has("Sequence")) {
      result.push_back(std::nullopt);
      continue;
    }
    KVASIR_ASSIGN_OR_RETURN(const JsonNode special, item.object("SpecialToken"));
    KVASIR_ASSIGN_OR_RETURN(const std::string name, special.text("id"));
    KVASIR_ASSIGN_OR_RETURN(const JsonNode tokens, node.object("special_tokens"));
    if (!tokens.has(name.c_str())) return special.corrupt("a name of special_tokens", "id");
    KVASIR_ASSIGN_OR_RETURN(const JsonNode ids, tokens.at(name.c_str()).array("ids"));
    for (const auto& id : ids.value()) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX) return ids.corrupt("token ids");
      result.push_back(id.get<TokenId>());
    }
  }
  templates_.push_back(std::move(result));
  return Status();
}

std::vector<TokenId> PostProcessor::add_special_tokens(std::vector<TokenId> tokens) const {
  for (const Template& each : templates_) {
    std::vector<TokenId> out;
    out.reserve(tokens.size() + each.size());
    for (const std::optional<TokenId>& item : each) {
      if (item) {
        out.push_back(*item);
      } else {
        out.insert(out.end(), tokens.begin(), tokens.end());
      }
    }
    tokens = std::move(out);
  }
  return tokens;
}

}  // namespace kvasir::tokenizer
