#pragma once

// A request under way: what the server polls whenever the engine has notified it, and sends on. No sockets.

#include <memory>
#include <string>
#include <string_view>

#include "api/generation.h"
#include "api/refusal.h"

namespace kvasir::api {

class Call {
 public:
  virtual ~Call() = default;

  // Server-sent events, or one body at the end?
  virtual bool streams() const = 0;

  // Appends to `out` what has come, and returns whether that was the last of it. A stream's is events; else
  // nothing comes until the end, and then the body.
  virtual bool poll(std::string& out) = 0;

  // Of the body. Requires: poll() has returned true.
  virtual int http_status() const = 0;
};

// Appends "event: NAME\ndata: DATA\n\n"; without a name, only the data. `data` has no line breaks.
void append_event(std::string& out, std::string_view data);
void append_event(std::string& out, std::string_view name, std::string_view data);

// The calls that generate: an API says how its replies look.
class GenerationCall : public Call {
 public:
  explicit GenerationCall(std::unique_ptr<Generation> generation,
                          ErrorStyle error_style = ErrorStyle::kOpenAi)
      : generation_(std::move(generation)), error_style_(error_style) {}

  bool streams() const final { return generation_->spec().stream; }
  bool poll(std::string& out) final;
  int http_status() const final { return http_status_; }

  const Generation& generation() const { return *generation_; }

 protected:
  // Of a stream: what comes first, what a delta adds, what comes last.
  virtual void begin(std::string& out) = 0;
  virtual void add(const Generation::Delta& delta, std::string& out) = 0;
  virtual void end(std::string& out) = 0;
  // Without a stream: the body.
  virtual std::string body() = 0;

 private:
  bool is_news(const Generation::Delta& delta) const;

  const std::unique_ptr<Generation> generation_;
  const ErrorStyle error_style_;
  bool has_begun_ = false;
  int http_status_ = 200;
};

}  // namespace kvasir::api
