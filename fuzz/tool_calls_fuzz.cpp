// The first byte chooses the format and the cuts, the rest is the reply. However it is cut, the result is the
// same, and what has no call comes out as it went in.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "api/tool_calls.h"

namespace {

using kvasir::api::ReplyPiece;
using kvasir::api::ToolCallParser;

// Kinds and texts in order, pieces of the same kind joined.
std::string parse(kvasir::api::ToolFormat format, std::string_view reply, std::size_t step, int& num_calls) {
  ToolCallParser parser(format, {"f", "get_weather"});
  std::vector<ReplyPiece> pieces;
  for (std::size_t at = 0; at < reply.size(); at += step) parser.push(reply.substr(at, step), pieces);
  parser.finish(pieces);
  num_calls = parser.num_calls();
  std::string all;
  auto last = ReplyPiece::Kind::kContent;
  for (const ReplyPiece& piece : pieces) {
    if (piece.kind != last) all += static_cast<char>(piece.kind);
    all += piece.text;
    last = piece.kind;
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto format = static_cast<kvasir::api::ToolFormat>(data[0] % 3);
  const std::string_view reply(reinterpret_cast<const char*>(data) + 1, size - 1);
  int num_calls = 0, num_calls_cut = 0;
  const std::string whole = parse(format, reply, size, num_calls);
  const std::string cut = parse(format, reply, 1 + data[0] / 3 % 16, num_calls_cut);
  if (whole != cut || num_calls != num_calls_cut) std::abort();
  if (num_calls == 0 && whole != reply) std::abort();
  return 0;
}
