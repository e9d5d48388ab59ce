#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tokenizer/chat_template.h"
#include "tokenizer/turn_rewrite.h"

// A template on one conversation, within limits that keep a run short.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvasir::tokenizer;
  static const auto kContext = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "h\u00e9llo\n<b>\ud83d\ude00"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5]}}}]}],
    "tools": [{"function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "array"}}}}}],
    "n": 7, "big": 12345678901234567890, "bos_token": "<s>", "eos_token": "</s>"})");
  TemplateLimits limits;
  limits.max_steps = 100'000;
  limits.max_value_bytes = 16 << 20;
  limits.max_output_bytes = 1 << 20;
  const auto parsed = ChatTemplate::parse("fuzz", {reinterpret_cast<const char*>(data), size}, limits);
  if (!parsed.ok()) return 0;
  static_cast<void>((*parsed)->render(kContext, {}));
  static_cast<void>(find_turn_rewrite(**parsed, "<s>", "</s>"));
  return 0;
}
