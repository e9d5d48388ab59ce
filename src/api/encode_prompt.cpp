#include "api/encode_prompt.h"

namespace kvasir::api {

Result<std::vector<TokenId>> encode_prompt(const tokenizer::Tokenizer& tokenizer, const Prompt& prompt,
                                           bool add_special_tokens, std::optional<int> truncate_to) {
  std::vector<TokenId> ids;
  if (const auto* given = std::get_if<std::vector<TokenId>>(&prompt)) {
    ids = *given;
  } else {
    KVASIR_ASSIGN_OR_RETURN(ids, tokenizer.encode(std::get<std::string>(prompt), {add_special_tokens}));
  }
  if (truncate_to && ids.size() > static_cast<std::size_t>(*truncate_to))
    ids.erase(ids.begin(), ids.end() - *truncate_to);
  return ids;
}

}  // namespace kvasir::api
