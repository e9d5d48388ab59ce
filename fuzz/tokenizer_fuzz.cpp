#include <cstdint>
#include <string_view>

#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvasir::tokenizer;
  const auto tokenizer = Tokenizer::from_json("fuzz", {reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  for (const std::string_view text :
       {"", " Hello,  world's 123 end", "\u00e9\u4e2d\U0001f600\n\t<s>a</s>", "aaaaaaaa"}) {
    const auto ids = (*tokenizer)->encode(text);
    if (!ids.ok()) return 0;
    static_cast<void>((*tokenizer)->decode(*ids, {.skip_special_tokens = false}));
    IncrementalDetokenizer stream(**tokenizer, {.skip_special_tokens = true});
    for (const kvasir::TokenId id : *ids) static_cast<void>(stream.push(id));
    static_cast<void>(stream.finish());
  }
  return 0;
}
