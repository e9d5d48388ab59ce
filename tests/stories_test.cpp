// A real trained model continues its golden prompts with exactly the golden tokens and text, through the
// whole engine, cold and from the cache.

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <semaphore>

#include "api/api_service.h"
#include "tests/shared_data.h"

namespace kvasir {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

nlohmann::json generate(api::ApiService& service, const api::GenerateRequest& request) {
  const auto changed = std::make_shared<std::counting_semaphore<>>(0);
  auto reply = service.generate(request, [changed] { changed->release(); });
  EXPECT_TRUE(reply.ok()) << reply.status().message();
  while (reply.ok()) {
    changed->acquire();
    while (const auto piece = (*reply)->next()) {
      if (piece->is_last()) return nlohmann::json::parse(piece->response.value_or("{}"));
    }
  }
  return {};
}

TEST(Stories, ContinueAsTheReferenceDoes) {
  KVASIR_REQUIRE_SHARED_DATA("models/stories260K");
  const auto folder = kvasir::testing::shared_data_dir() / "models/stories260K";
  ThreadPool pool(2);
  auto files = format::ModelFiles::open(folder.string());
  ASSERT_TRUE(files.ok());
  auto model = model::Model::load(*files, {model::WeightDtype::kAuto}, pool);
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto tokenizer = tokenizer::Tokenizer::from_json("tokenizer.json", read_text(folder / "tokenizer.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const SteadyClock clock;
  engine::EngineConfig config;
  config.kv_cache_memory = 32 << 20;
  config.min_tokens = 1;
  auto engine = engine::Engine::start(**model, config, clock);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  api::ApiService service(**tokenizer, (*model)->config().eos_token_ids, **engine, clock);

  const auto goldens = nlohmann::json::parse(read_text(folder / "goldens.json"));
  int num_cases = 0;
  for (const auto& golden : goldens.at("cases")) {
    api::GenerateRequest request;
    request.prompt = golden.at("text").get<std::string>();
    const auto prompt = (*tokenizer)->encode(request.prompt);
    ASSERT_TRUE(prompt.ok());
    EXPECT_EQ(*prompt, golden.at("prompt").get<std::vector<TokenId>>());
    const auto greedy = golden.at("greedy").get<std::vector<TokenId>>();
    request.max_new_tokens = static_cast<int>(greedy.size());
    for (const char* run : {"cold", "cached"}) {
      const nlohmann::json response = generate(service, request);
      EXPECT_EQ(response.at("text"), golden.at("greedy_text")) << run;
    }
    ++num_cases;
  }
  EXPECT_GT(num_cases, 5);
  EXPECT_GE((*engine)->stats().cache.hits, num_cases);
}

}  // namespace
}  // namespace kvasir
