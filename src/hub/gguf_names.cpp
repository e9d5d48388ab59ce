#include "hub/gguf_names.h"

#include <algorithm>
#include <charconv>

#include "format/printable.h"

namespace kvasir::hub {
namespace {

constexpr std::string_view kSuffix = ".gguf";
constexpr std::size_t kDigits = 5;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool ends_with_ignoring_case(std::string_view text, std::string_view end) {
  return text.size() >= end.size() &&
         std::equal(end.begin(), end.end(), text.end() - static_cast<std::ptrdiff_t>(end.size()),
                    [](char a, char b) { return lower(a) == lower(b); });
}

std::string_view file_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

// A number of exactly five digits at the end of `text`, which it removes.
std::optional<int> take_number(std::string_view& text) {
  if (text.size() < kDigits) return std::nullopt;
  const std::string_view digits = text.substr(text.size() - kDigits);
  int number = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + kDigits, number);
  if (failure != std::errc() || end != digits.data() + kDigits || number <= 0) return std::nullopt;
  text.remove_suffix(kDigits);
  return number;
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// The name without what says which part it is.
std::string model_name(std::string_view path) {
  const auto part = parse_gguf_part(path);
  if (!part) path.remove_suffix(kSuffix.size());
  return std::string(file_name(part ? part->prefix : path));
}

// "model-Q4_K_M" and "model.q4_k_m" end with the quantisation "Q4_K_M". Image encoders that come with a model
// have its quantisation in their names too.
bool has_quantisation(std::string_view path, std::string_view quantisation) {
  const std::string name = model_name(path);
  if (name.starts_with("mmproj") || !ends_with_ignoring_case(name, quantisation)) return false;
  if (name.size() == quantisation.size()) return true;
  const char before = name[name.size() - quantisation.size() - 1];
  return before == '-' || before == '.' || before == '_';
}

}  // namespace

std::optional<GgufPart> parse_gguf_part(std::string_view path) {
  std::string_view rest = path;
  if (!take_suffix(rest, kSuffix)) return std::nullopt;
  const auto count = take_number(rest);
  if (!count || !take_suffix(rest, "-of-")) return std::nullopt;
  const auto number = take_number(rest);
  if (!number || *number > *count || !take_suffix(rest, "-") || file_name(rest).empty()) return std::nullopt;
  return GgufPart{std::string(rest), *number, *count};
}

std::vector<std::string> gguf_parts(std::string_view path) {
  const auto part = parse_gguf_part(path);
  if (!part) return {std::string(path)};
  std::vector<std::string> paths;
  for (int i = 1; i <= part->count; ++i) {
    paths.push_back(fmt::format("{}-{:05}-of-{:05}{}", part->prefix, i, part->count, kSuffix));
  }
  return paths;
}

std::vector<std::string> gguf_models(std::span<const std::string> paths) {
  std::vector<std::string> models;
  for (const std::string& path : paths) {
    if (!path.ends_with(kSuffix)) continue;
    const auto part = parse_gguf_part(path);
    if (!part || part->number == 1) models.push_back(path);
  }
  return models;
}

Result<std::string> find_gguf(std::string_view owner, std::string_view spec,
                              std::span<const std::string> paths) {
  const std::vector<std::string> models = gguf_models(paths);
  const std::string wanted = gguf_parts(spec).front();
  const bool is_file = wanted.ends_with(kSuffix);
  std::vector<std::string> found;
  for (const std::string& model : models) {
    if (model == wanted) return model;
    if (is_file ? file_name(model) == wanted : has_quantisation(model, wanted)) found.push_back(model);
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return error(StatusCode::kInvalidArgument, "{}: '{}' may be one of {} files, name one: {}", owner,
                 format::printable(spec), found.size(), join_names(found));
  }
  if (models.empty()) {
    return error(StatusCode::kNotFound, "{}: expected '{}', but there are no GGUF files", owner,
                 format::printable(spec));
  }
  return error(StatusCode::kNotFound, "{}: expected '{}', but its GGUF files are {}", owner,
               format::printable(spec), join_names(models));
}

std::string join_names(std::span<const std::string> names) {
  constexpr std::size_t kMaxNames = 30;
  std::string text;
  for (const std::string& name : names.first(std::min(names.size(), kMaxNames))) {
    text += text.empty() ? format::printable(name) : ", " + format::printable(name);
  }
  if (names.size() > kMaxNames) text += fmt::format(" and {} more", names.size() - kMaxNames);
  return text;
}

}  // namespace kvasir::hub
