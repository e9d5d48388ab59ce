#include "hub/hub_settings.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "format/printable.h"
#include "hub/http_client.h"

namespace kvasir::hub {
namespace {

class Variables {
 public:
  explicit Variables(const ReadVariable& read) : read_(read) {}

  // The first of `names` that is set; empty: none is.
  std::string first(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (const char* value = read_(name); value != nullptr && *value != '\0') return value;
    }
    return {};
  }

  bool is_true(std::initializer_list<const char*> names) const {
    std::string value = first(names);
    std::transform(value.begin(), value.end(), value.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c; });
    return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
  }

  // A path in which ~ stands for the home folder.
  std::filesystem::path path(const std::string& text) const {
    if (text == "~" || text.starts_with("~/")) return first({"HOME"}) + text.substr(1);
    return text;
  }

 private:
  const ReadVariable& read_;
};

std::string trim(std::string text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  text.erase(std::find_if_not(text.rbegin(), text.rend(), is_space).base(), text.end());
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
  return text;
}

Result<std::string> find_token(const Variables& variables, const std::filesystem::path& home) {
  constexpr std::size_t kMaxTokenBytes = 4096;
  if (variables.is_true({"HF_HUB_DISABLE_IMPLICIT_TOKEN"})) return std::string();
  std::string token = variables.first({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
  std::string source = "HF_TOKEN";
  if (token.empty()) {
    const std::string named = variables.first({"HF_TOKEN_PATH"});
    const std::filesystem::path path = named.empty() ? home / "token" : variables.path(named);
    std::ifstream file(path, std::ios::binary);
    token.resize(kMaxTokenBytes + 1);
    file.read(token.data(), static_cast<std::streamsize>(token.size()));
    token.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    source = path.string();
  }
  token = trim(token);
  const bool is_sound = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (token.size() > kMaxTokenBytes || !is_sound) {
    return error(StatusCode::kInvalidArgument,
                 "{}: expected a token of printable ASCII, got something else (which is not shown)", source);
  }
  return token;
}

}  // namespace

Result<HubSettings> read_hub_settings(const ReadVariable& variable) {
  const Variables variables(variable);
  HubSettings settings;
  const std::string named_cache = variables.first({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  const std::string named_home = variables.first({"HF_HOME"}), xdg = variables.first({"XDG_CACHE_HOME"});
  if (variables.first({"HOME"}).empty() && named_home.empty() && xdg.empty()) {
    return error(StatusCode::kInvalidArgument,
                 "HOME: expected the folder of the user, got nothing; HF_HOME names a folder for models");
  }
  const std::filesystem::path home = !named_home.empty() ? variables.path(named_home)
                                     : !xdg.empty()      ? variables.path(xdg) / "huggingface"
                                                         : variables.path("~/.cache/huggingface");
  settings.cache = named_cache.empty() ? home / "hub" : variables.path(named_cache);
  KVASIR_ASSIGN_OR_RETURN(settings.token, find_token(variables, home));
  settings.is_offline = variables.is_true({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"});
  if (std::string endpoint = variables.first({"HF_ENDPOINT"}); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    const bool is_url = endpoint.starts_with("https://") || endpoint.starts_with("http://");
    const bool is_plain = std::all_of(endpoint.begin(), endpoint.end(), [](char c) {
      return c > ' ' && c < 0x7f && c != '@' && c != '?' && c != '#';
    });
    // Of a URL without a host, or with a port that is none, there is no origin.
    if (!is_url || !is_plain || origin_of(endpoint).empty()) {
      return error(StatusCode::kInvalidArgument,
                   "HF_ENDPOINT: expected a URL such as https://huggingface.co, got '{}'",
                   // A URL with '@' has a password in it.
                   endpoint.find('@') == endpoint.npos ? format::printable(endpoint) : "one with '@'");
    }
    settings.endpoint = std::move(endpoint);
  }
  return settings;
}

}  // namespace kvasir::hub
