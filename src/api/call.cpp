#include "api/call.h"

namespace kvasir::api {

void append_event(std::string& out, std::string_view data) {
  out.append("data: ").append(data).append("\n\n");
}

void append_event(std::string& out, std::string_view name, std::string_view data) {
  out.append("event: ").append(name).append("\n");
  append_event(out, data);
}

// Half a character has no text yet; who does not ask for tokens need not hear of it.
bool GenerationCall::is_news(const Generation::Delta& delta) const {
  const GenerationSpec& spec = generation_->spec();
  const bool reports_tokens = spec.num_logprobs.has_value() || spec.return_token_ids;
  return !delta.text.empty() || delta.choice.has_ended || (reports_tokens && delta.num_new_ids > 0);
}

bool GenerationCall::poll(std::string& out) {
  if (streams() && !has_begun_) begin(out);
  has_begun_ = true;
  while (const auto delta = generation_->next()) {
    if (streams() && is_news(*delta)) add(*delta, out);
  }
  if (!generation_->has_ended()) return false;
  if (const Status& status = generation_->status(); !status.ok()) {
    const std::string error = error_body(error_style_, {status, ""});
    http_status_ = api::http_status(status.code());
    if (streams()) {
      append_event(out, "error", error);
    } else {
      out = error;
    }
  } else if (streams()) {
    end(out);
  } else {
    out = body();
  }
  return true;
}

}  // namespace kvasir::api
