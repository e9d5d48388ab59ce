#include <cstdint>
#include <span>

#include <nlohmann/json.hpp>

#include "format/gguf.h"
#include "format/gguf_config.h"
#include "format/gguf_names.h"
#include "format/gguf_tokenizer.h"

// Every byte of every tensor may be read, every value under every accessor, and what is made of them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvasir;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto no_siblings = [](const std::string&) -> Result<std::span<const std::byte>> {
    return Status(StatusCode::kNotFound, "no such file");
  };
  const auto gguf = format::read_gguf("fuzz-00001-of-00002.gguf", bytes, no_siblings);
  if (!gguf.ok()) return 0;
  unsigned sum = 0;
  for (const auto& [name, tensor] : gguf->tensors) {
    for (const std::byte byte : tensor.data) sum += static_cast<unsigned>(byte);
  }
  const format::GgufMetadata& metadata = gguf->metadata;
  for (const auto& [key, value] : metadata.values()) {
    const auto text = metadata.text(key);
    if (text.ok() && !text->empty()) sum += static_cast<unsigned char>(text->back());
    if (const auto texts = metadata.texts(key); texts.ok()) {
      for (const std::string_view each : *texts)
        sum += each.empty() ? 0 : static_cast<unsigned char>(each[0]);
    }
    if (const auto numbers = metadata.numbers(key); numbers.ok()) sum += numbers->size();
    sum += metadata.number(key).ok() + metadata.boolean(key).ok() + metadata.integer(key, -5, 5).ok();
  }
  if (const auto tensors = format::gguf_tensors(*gguf); tensors.ok()) sum += tensors->size();
  sum += format::gguf_config(*gguf).ok() + format::gguf_tokenizer(metadata).ok() +
         format::gguf_tokenizer_config(metadata).ok();
  return sum == 0xFFFFFFFF ? 1 : 0;
}
