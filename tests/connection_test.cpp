#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "api/api_service.h"
#include "format/model_files.h"
#include "server/http_server.h"
#include "server/metrics.h"

namespace kvasir::server {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A whole server in this process, so that sanitizers see it: tests/http_test.py has what its replies say.
class ConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = KVASIR_SOURCE_DIR "/models/tiny";
    auto files = format::ModelFiles::open(folder);
    ASSERT_TRUE(files.ok()) << files.status().message();
    files_ = std::make_unique<format::ModelFiles>(std::move(*files));
    auto model = model::Model::load(*files_, {model::WeightDtype::kAuto}, pool_);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = std::move(*model);
    auto tokenizer = tokenizer::Tokenizer::from_json("tokenizer.json", read_file(folder + "/tokenizer.json"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = std::move(*tokenizer);
    engine::EngineConfig config;
    config.kv_cache_memory = 8 << 20;
    auto engine = engine::Engine::start(*model_, config, clock_);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = std::move(*engine);
    api::ModelFacts facts;
    facts.name = "tiny";
    facts.vocab_size = model_->config().vocab_size;
    facts.context = model_->config().max_position_embeddings;
    api::ApiService::Parts parts{*tokenizer_, templates_, *engine_, clock_, facts};
    parts.on_reply = [this](const api::RequestOutcome&) {
      if (is_broken_) throw std::runtime_error("a defect");
    };
    service_ = std::make_unique<api::ApiService>(std::move(parts));
  }

  void serve(std::chrono::seconds drain_timeout) {
    HttpConfig config;
    config.port = 0;
    config.drain_timeout = drain_timeout;
    auto server = HttpServer::listen(config);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = std::move(*server);
    server_->set_service(*service_, metrics_);
    running_ = std::thread([this] { server_->run(); });
  }

  // As `kvasir serve` does it.
  void stop() {
    server_->stop();
    running_.join();
    engine_->stop();
    server_.reset();
  }

  // A connection to it.
  int connect() const {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return socket;
  }

  std::atomic<bool> is_broken_{false};  // requests meet a defect of the server when they end
  ThreadPool pool_{2};
  SteadyClock clock_;
  tokenizer::ChatTemplates templates_;
  Metrics metrics_{"tiny"};
  std::unique_ptr<format::ModelFiles> files_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<api::ApiService> service_;
  std::unique_ptr<HttpServer> server_;
  std::thread running_;
};

std::string completion(std::string_view prompt, int max_tokens, bool streams) {
  const std::string body =
      fmt::format(R"({{"prompt":"{}","max_tokens":{},"temperature":0,"ignore_eos":true,"stream":{}}})",
                  prompt, max_tokens, streams);
  return fmt::format(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
      body.size(), body);
}

void send_all(int socket, std::string_view data) {
  EXPECT_EQ(::send(socket, data.data(), data.size(), MSG_NOSIGNAL), static_cast<ssize_t>(data.size()));
}

// All that comes until the server closes.
std::string read_all(int socket) {
  std::string received;
  char piece[4096];
  for (ssize_t count; (count = ::recv(socket, piece, sizeof piece, 0)) > 0;) received.append(piece, count);
  return received;
}

// The end of a connection meets every state of the request that runs on it: half read, read and not begun,
// waiting, half sent, over.
TEST_F(ConnectionTest, EndsAtAnyMoment) {
  serve(std::chrono::seconds(30));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  const auto run_client = [&](int seed) {
    std::minstd_rand random(seed + 1);
    while (std::chrono::steady_clock::now() < end) {
      const bool streams = random() % 4 != 0;
      const std::string prompt = fmt::format("The river in Woo is {}", random() % 3);
      const std::string request = completion(prompt, static_cast<int>(random() % 3), streams);
      const int socket = connect();
      const std::size_t num_sent = random() % 8 == 0 ? random() % request.size() : request.size();
      send_all(socket, std::string_view(request).substr(0, num_sent));
      if (num_sent == request.size() && random() % 2 == 0) {
        const std::string reply = read_all(socket);
        EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 ")) << reply;
        EXPECT_TRUE(reply.ends_with(streams ? "data: [DONE]\n\n\r\n0\r\n\r\n" : "}")) << reply;
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
        // With a reset, which the server hears of when it writes.
        const linger at_once{1, 0};
        if (random() % 2 == 0) ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      }
      ::close(socket);
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i) clients.emplace_back(run_client, i);
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(engine_->stats().failed, 0);
  stop();
}

// A defect that one request meets is said to its client and leaves the others alone.
TEST_F(ConnectionTest, ADefectIsAnError) {
  serve(std::chrono::seconds(30));
  is_broken_ = true;
  const auto reply_to = [&](bool streams) {
    const int socket = connect();
    send_all(socket, completion("Woo", 3, streams));
    const std::string reply = read_all(socket);
    ::close(socket);
    return reply;
  };
  const std::string refused = reply_to(false);
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 500 ")) << refused;
  EXPECT_TRUE(refused.find("internal error") != std::string::npos) << refused;
  const std::string cut = reply_to(true);
  EXPECT_TRUE(cut.starts_with("HTTP/1.1 200 ")) << cut;
  EXPECT_FALSE(cut.ends_with("\r\n0\r\n\r\n")) << cut;
  is_broken_ = false;
  EXPECT_TRUE(reply_to(false).starts_with("HTTP/1.1 200 "));
  stop();
}

// The server ends while requests run, are half read or have not come: what they hold goes with it.
TEST_F(ConnectionTest, IsCutOffAfterTheDrain) {
  serve(std::chrono::seconds(0));
  const std::string stream = completion("Woo", 2000, true), whole = completion("Woo", 2000, false);
  const int streaming = connect(), waiting = connect(), half = connect(), idle = connect();
  send_all(waiting, whole);
  send_all(half, std::string_view(whole).substr(0, whole.size() - 1));
  send_all(streaming, stream);
  char first;
  EXPECT_EQ(::recv(streaming, &first, 1, 0), 1);
  stop();
  EXPECT_FALSE(read_all(streaming).ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
  for (const int socket : {waiting, half, idle}) EXPECT_EQ(read_all(socket), "");
  for (const int socket : {streaming, waiting, half, idle}) ::close(socket);
}

}  // namespace
}  // namespace kvasir::server
