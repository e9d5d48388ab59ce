#include "tokenizer/turn_rewrite.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

Json message(std::string_view role, std::string_view content) {
  return Json{{"role", role}, {"content", content}};
}

// About 20 bytes of the text from a place on, on one line.
std::string excerpt(std::string_view text, std::size_t at) {
  if (at >= text.size()) return "its end";
  std::size_t end = std::min(text.size(), at + 20);
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
  return Json(text.substr(at, end - at)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct Sample {
  std::string_view name;
  std::string_view system;  // empty: none
  std::string_view reply;   // of the first turn, as the model writes it
};

// Of one conversation: what differs, or nothing.
Result<std::optional<std::string>> find_rewrite(const ChatTemplate& chat_template, const Sample& sample,
                                                std::string_view bos_token, std::string_view eos_token) {
  // One moment for all turns: that the date changes in between is another matter.
  constexpr std::chrono::local_seconds kNow = std::chrono::local_days(std::chrono::year(2025) / 1 / 1);
  Json messages = Json::array();
  if (!sample.system.empty()) messages.push_back(message("system", sample.system));
  std::string before;  // the last turn's prompt, and its reply
  for (int turn = 1; turn <= 3; ++turn) {
    messages.push_back(message("user", "question " + std::to_string(turn)));
    const Json context = {{"messages", messages},
                          {"add_generation_prompt", true},
                          {"bos_token", bos_token},
                          {"eos_token", eos_token}};
    KVASIR_ASSIGN_OR_RETURN(const std::string prompt, chat_template.render(context, kNow));
    if (!prompt.starts_with(before)) {
      const auto differs = std::ranges::mismatch(before, prompt);
      std::size_t at = static_cast<std::size_t>(differs.in1 - before.begin());
      while (at > 0 && at < prompt.size() && (static_cast<unsigned char>(prompt[at]) & 0xC0) == 0x80) --at;
      return std::optional(fmt::format(
          "{}: turn {} does not begin with turn {} and its reply: at byte {} it has {} instead of {}",
          sample.name, turn, turn - 1, at, excerpt(prompt, at), excerpt(before, at)));
    }
    before = prompt + std::string(sample.reply);
    messages.push_back(message("assistant", sample.reply));
  }
  return std::optional<std::string>();
}

}  // namespace

Result<std::optional<std::string>> find_turn_rewrite(const ChatTemplate& chat_template,
                                                     std::string_view bos_token, std::string_view eos_token) {
  constexpr Sample kSamples[] = {
      {"a plain conversation", "", "answer"},
      {"a conversation with a system message", "Be brief.", "answer"},
      {"a conversation with a reply that thinks", "", "<think>\nthought\n</think>\n\nanswer"},
  };
  for (const Sample& sample : kSamples) {
    Result<std::optional<std::string>> found = find_rewrite(chat_template, sample, bos_token, eos_token);
    if (!found.ok() && &sample != &kSamples[0]) continue;
    if (!found.ok() || found->has_value()) return found;
  }
  return std::optional<std::string>();
}

}  // namespace kvasir::tokenizer
