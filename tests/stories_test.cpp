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

nlohmann::json generate(api::ApiService& service, const nlohmann::json& request) {
  const auto changed = std::make_shared<std::counting_semaphore<>>(0);
  std::string_view no_parameter;
  const api::RouteInfo& route = *api::find_route("/generate", no_parameter);
  auto outcome = service.handle(route, no_parameter, request.dump(), {}, [changed] { changed->release(); });
  auto* call = std::get_if<std::unique_ptr<api::Call>>(&outcome);
  EXPECT_TRUE(call) << std::get<api::HttpReply>(outcome).body;
  if (call == nullptr) return {};
  std::string body;
  while (!(*call)->poll(body)) changed->acquire();
  EXPECT_EQ((*call)->http_status(), 200) << body;
  return nlohmann::json::parse(body);
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
  const tokenizer::ChatTemplates templates;
  const model::ModelConfig& shape = (*model)->config();
  api::ModelFacts facts;
  facts.vocab_size = shape.vocab_size;
  facts.context = shape.max_position_embeddings;
  facts.eos_token_ids = shape.eos_token_ids;
  api::ApiService service({**tokenizer, templates, **engine, clock, facts});

  const auto goldens = nlohmann::json::parse(read_text(folder / "goldens.json"));
  int num_cases = 0;
  for (const auto& golden : goldens.at("cases")) {
    const auto text = golden.at("text").get<std::string>();
    const auto prompt = (*tokenizer)->encode(text);
    ASSERT_TRUE(prompt.ok());
    EXPECT_EQ(*prompt, golden.at("prompt").get<std::vector<TokenId>>());
    const auto greedy = golden.at("greedy").get<std::vector<TokenId>>();
    const nlohmann::json request = {{"prompt", text}, {"max_new_tokens", greedy.size()}};
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
