#pragma once

// A model's chat template: messages in, the text of the prompt out. The template is Jinja, as Hugging Face
// tokenizers carry it; what it may do and what its output is are those of jinja2 as transformers sets it up
// (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, `generation` blocks, and its own
// tojson, raise_exception and strftime_now). Templates and messages are hostile input: a render ends within
// its limits.
//
// Immutable after parse(): any number of threads may render at once.

#include <chrono>
#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kvasir::tokenizer {

// What one template and one render of it may take.
struct TemplateLimits {
  std::size_t max_source_bytes = 1 << 20;
  std::size_t max_steps = 20'000'000;       // an operation, an item of a sequence, 32 bytes of text
  std::size_t max_value_bytes = 256 << 20;  // all values that a render makes, together
  std::size_t max_output_bytes = 64 << 20;
  int max_depth = 400;  // expressions, statements and macros inside each other: some kilobytes of stack each
};

// The civil time at this machine, for ChatTemplate::render.
std::chrono::local_seconds local_now();

class ChatTemplate {
 public:
  // `name` (a file) opens every message.
  // Errors, with the line: kCorrupt for what is not Jinja, kUnsupported for what jinja2 has and this has not.
  static Result<std::unique_ptr<ChatTemplate>> parse(std::string_view name, std::string_view source,
                                                     const TemplateLimits& limits = {});
  ~ChatTemplate();

  // Its text.
  const std::string& source() const;

  // The prompt. `context` is an object with the template's variables: messages, tools, add_generation_prompt,
  // bos_token, eos_token, and whatever else this template reads. Where it has no tools or documents they are
  // none, without add_generation_prompt that is false, as in transformers. `now` is what strftime_now says.
  // Errors: kInvalidArgument; the message is raise_exception's own when the template calls it, else it names
  // the line.
  Result<std::string> render(const nlohmann::ordered_json& context, std::chrono::local_seconds now) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace kvasir::tokenizer
