// What of the hub needs no network: references, names, settings, the cache. tests/hub_test.py has the rest.

#include <gtest/gtest.h>
#include <sys/file.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/clock.h"
#include "hub/cached_models.h"
#include "hub/file_lock.h"
#include "hub/gguf_names.h"
#include "hub/hub_client.h"
#include "hub/hub_settings.h"
#include "hub/local_model.h"
#include "hub/model_reference.h"
#include "hub/names.h"
#include "hub/partial_blob.h"
#include "hub/progress.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

const std::string kCommit(40, 'a'), kOtherCommit(40, 'b');

// A folder that is removed with its owner.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "kvasir-hub-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }

  const fs::path& path() const { return path_; }

  void write(const fs::path& name, std::string_view text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  fs::path path_;
};

// A cache with files of org/name in it, each in a blob of its own.
class CacheFolder : public Folder {
 public:
  HubCache cache{path()};

  void add(const std::string& file, const std::string& text, const std::string& commit = kCommit) const {
    const std::string etag = "e" + std::to_string(std::hash<std::string>()(text));
    write(fs::relative(cache.blob("org/name", etag), path()), text);
    ASSERT_TRUE(cache.link("org/name", commit, file, etag).ok());
  }

  void add_model() const {
    for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"}) add(file, file);
    ASSERT_TRUE(cache.set_ref("org/name", "main", kCommit).ok());
  }
};

ModelReference repo_reference(std::string_view text) {
  const auto reference = parse_repo_reference(text);
  EXPECT_TRUE(reference.ok()) << reference.status().message();
  return reference.ok() ? *reference : ModelReference();
}

TEST(Names, OfHostileServersAreRefused) {
  for (const char* good : {"a.gguf", "Q4_K_M/a-00001-of-00002.gguf", "..a/b..", "a b"}) {
    EXPECT_TRUE(is_file_path(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("/etc/passwd"), std::string("../a"), std::string("a/../b"),
        std::string("a/.."), std::string("a//b"), std::string("a/"), std::string("./a"), std::string("a\\b"),
        std::string("a\nb"), std::string("a\0b", 3), std::string("\x1b[2J"), std::string(256, 'a'),
        std::string(2000, '/')}) {
    EXPECT_FALSE(is_file_path(bad)) << bad;
  }
  for (const char* bad : {"", ".", "..", "a/b", "a.incomplete", "a b", "\"a\""})
    EXPECT_FALSE(is_blob_name(bad));
  EXPECT_TRUE(is_blob_name("2d-432a5e4a73a80"));
  EXPECT_FALSE(is_commit_hash(std::string(39, 'a')));
  EXPECT_FALSE(is_commit_hash(std::string(40, 'g')));
}

TEST(ModelReference, TakesRepositoriesApart) {
  const ModelReference plain = repo_reference("TinyLlama/TinyLlama-1.1B-Chat-v1.0");
  EXPECT_EQ(plain.repo, "TinyLlama/TinyLlama-1.1B-Chat-v1.0");
  EXPECT_EQ(plain.revision_or_main(), "main");
  const ModelReference full = repo_reference("org/name@refs/pr/1:sub/a@b.gguf");
  EXPECT_EQ(full.repo, "org/name");
  EXPECT_EQ(full.revision, "refs/pr/1");
  EXPECT_EQ(full.file, "sub/a@b.gguf");
  for (const char* text : {"org/name", "org/name@v1", "org/name:Q4_K_M", "org/name@v1:a.gguf"}) {
    EXPECT_EQ(repo_reference(text).text(), text);
  }
  for (const char* bad :
       {"", "name", "a/b/c", "/name", "org/", "org/..", "../name", "-org/name", "org/na--me", "org/n\nx",
        "org/name@", "org/name@../x", "org/name@a b", "org/name@-x", "org/name:", "org/name:../a.gguf",
        "org/name:/a.gguf", "https://huggingface.co/org/name"}) {
    const auto reference = parse_repo_reference(bad);
    ASSERT_FALSE(reference.ok()) << bad;
    EXPECT_EQ(reference.status().message().find('\n'), std::string::npos);
  }
}

TEST(ModelReference, AnExistingPathCountsBeforeARepository) {
  const Folder folder;
  folder.write("org/name/config.json", "{}");
  folder.write("a.gguf", "");
  folder.write("a.txt", "");
  EXPECT_EQ(parse_model_reference("")->kind, ModelReference::Kind::kEmbedded);
  EXPECT_EQ(parse_model_reference("org/name")->kind, ModelReference::Kind::kRepo);
  EXPECT_EQ(parse_model_reference((folder.path() / "org/name").string())->kind,
            ModelReference::Kind::kFolder);
  EXPECT_EQ(parse_model_reference((folder.path() / "a.gguf").string())->kind,
            ModelReference::Kind::kGgufFile);
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  const auto found = parse_model_reference("org/name");
  fs::current_path(before);
  EXPECT_EQ(found->kind, ModelReference::Kind::kFolder);
  EXPECT_EQ(parse_model_reference((folder.path() / "a.txt").string()).status().code(),
            StatusCode::kInvalidArgument);
  for (const char* nowhere : {"/nonexistent", "./nonexistent", "nonexistent.gguf"}) {
    EXPECT_EQ(parse_model_reference(nowhere).status().code(), StatusCode::kNotFound) << nowhere;
  }
}

TEST(GgufNames, PartsAreFoundFromAnyOfThem) {
  const std::vector<std::string> parts = {"d/m-00001-of-00003.gguf", "d/m-00002-of-00003.gguf",
                                          "d/m-00003-of-00003.gguf"};
  for (const std::string& part : parts) EXPECT_EQ(gguf_parts(part), parts);
  for (const char* whole : {"m.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-1-of-3.gguf",
                            "-00001-of-00001.gguf", "m-00001-of-00003.bin", "m--0001-of-00003.gguf"}) {
    EXPECT_EQ(gguf_parts(whole), std::vector<std::string>{whole});
  }
}

TEST(GgufNames, AQuantisationNamesOneFile) {
  const std::vector<std::string> files = {"README.md",
                                          "m-Q4_K_M.gguf",
                                          "m.q8_0.gguf",
                                          "m-Q4_K_S.gguf",
                                          "F16/m-F16-00001-of-00002.gguf",
                                          "F16/m-F16-00002-of-00002.gguf",
                                          "mmproj-Q8_0.gguf",
                                          "x-IQ2_M.gguf",
                                          "y-IQ2_M.gguf"};
  const auto find = [&](std::string_view spec) { return find_gguf("org/name", spec, files); };
  EXPECT_EQ(*find("q4_k_m"), "m-Q4_K_M.gguf");
  EXPECT_EQ(*find("Q8_0"), "m.q8_0.gguf");
  EXPECT_EQ(*find("f16"), "F16/m-F16-00001-of-00002.gguf");
  EXPECT_EQ(*find("m-F16-00002-of-00002.gguf"), "F16/m-F16-00001-of-00002.gguf");
  EXPECT_EQ(*find("mmproj-Q8_0.gguf"), "mmproj-Q8_0.gguf");
  EXPECT_EQ(find("4_K_M").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(find("Q5_0").status().message(),
            "org/name: expected 'Q5_0', but its GGUF files are m-Q4_K_M.gguf, m.q8_0.gguf, m-Q4_K_S.gguf, "
            "F16/m-F16-00001-of-00002.gguf, mmproj-Q8_0.gguf, x-IQ2_M.gguf, y-IQ2_M.gguf");
  EXPECT_EQ(find("IQ2_M").status().message(),
            "org/name: 'IQ2_M' may be one of 2 files, name one: x-IQ2_M.gguf, y-IQ2_M.gguf");
  EXPECT_EQ(find_gguf("o/n", "Q4_0", {}).status().message(),
            "o/n: expected 'Q4_0', but there are no GGUF files");
}

TEST(HubSettings, FollowTheVariablesOfHuggingFace) {
  std::map<std::string, std::string> variables;
  const auto read = [&] {
    return read_hub_settings([&](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
  };
  EXPECT_EQ(read().status().code(), StatusCode::kInvalidArgument);  // nowhere to be at home
  const Folder home;
  variables["HOME"] = home.path().string();
  EXPECT_EQ(read()->cache, home.path() / ".cache/huggingface/hub");
  EXPECT_EQ(read()->endpoint, "https://huggingface.co");
  EXPECT_EQ(read()->token, "");
  EXPECT_FALSE(read()->is_offline);
  variables["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(read()->cache, "/xdg/huggingface/hub");
  variables["HF_HOME"] = "~/hf";
  EXPECT_EQ(read()->cache, home.path() / "hf/hub");
  variables["HF_HUB_CACHE"] = "/models";
  EXPECT_EQ(read()->cache, "/models");

  home.write("hf/token", "hf_file\n");
  EXPECT_EQ(read()->token, "hf_file");
  variables["HF_TOKEN"] = "hf_variable";
  EXPECT_EQ(read()->token, "hf_variable");
  variables["HF_TOKEN"] = "hf_secret\nX-Header: 1";
  EXPECT_FALSE(read().ok());
  EXPECT_EQ(read().status().message().find("secret"), std::string::npos);
  variables["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1";
  EXPECT_EQ(read()->token, "");

  variables["HF_ENDPOINT"] = "http://127.0.0.1:8080/hub/";
  EXPECT_EQ(read()->endpoint, "http://127.0.0.1:8080/hub");
  for (const char* bad : {"ftp://a", "huggingface.co", "https://a b", "https://user:secret@a", "https://a?b",
                          "https://", "http://:80", "http://a:99999", "http://a:b"}) {
    variables["HF_ENDPOINT"] = bad;
    EXPECT_FALSE(read().ok()) << bad;
    EXPECT_EQ(read().status().message().find("secret"), std::string::npos);
  }
  variables.erase("HF_ENDPOINT");
  for (const auto& [value, expected] :
       std::map<std::string, bool>{{"1", true}, {"yes", true}, {"0", false}, {"", false}}) {
    variables["HF_HUB_OFFLINE"] = value;
    EXPECT_EQ(read()->is_offline, expected) << value;
  }
}

TEST(HubCache, FindsOnlyWhatIsThereAsAWhole) {
  const CacheFolder folder;
  const ModelReference reference = repo_reference("org/name");
  EXPECT_EQ(look_up(folder.cache, reference)->missing, "the revision main");
  folder.add_model();
  CacheLookup lookup = *look_up(folder.cache, reference);
  ASSERT_TRUE(lookup.model);
  EXPECT_EQ(lookup.model->folder, folder.cache.snapshot("org/name", kCommit));
  EXPECT_FALSE(lookup.is_complete);
  EXPECT_EQ(lookup.missing, "generation_config.json");
  folder.add("tokenizer_config.json", "{}");
  for (const char* absent : {"generation_config.json", "chat_template.jinja"}) {
    folder.cache.mark_absent("org/name", kCommit, absent);
  }
  EXPECT_TRUE(look_up(folder.cache, reference)->is_complete);
  EXPECT_TRUE(look_up(folder.cache, repo_reference("org/name@" + kCommit))->is_complete);
  EXPECT_FALSE(look_up(folder.cache, repo_reference("org/name@v1"))->model);

  // A link without its blob is a file that is not there, and is made anew.
  const fs::path link = folder.cache.snapshot("org/name", kCommit) / "config.json";
  EXPECT_TRUE(fs::read_symlink(link).is_relative());
  fs::remove(fs::canonical(link));
  EXPECT_EQ(look_up(folder.cache, reference)->missing, "config.json");
  folder.add("config.json", "again");
  EXPECT_TRUE(look_up(folder.cache, reference)->is_complete);
}

TEST(HubCache, AllShardsOfTheIndexAreNeeded) {
  const CacheFolder folder;
  folder.add_model();
  fs::remove(folder.cache.snapshot("org/name", kCommit) / "model.safetensors");
  folder.add("model.safetensors.index.json",
             R"({"weight_map":{"x":"m-1.safetensors","y":"m-2.safetensors","z":"m-1.safetensors"}})");
  folder.add("m-1.safetensors", "1");
  EXPECT_EQ(look_up(folder.cache, repo_reference("org/name"))->missing, "m-2.safetensors");
  folder.add("m-2.safetensors", "2");
  EXPECT_TRUE(look_up(folder.cache, repo_reference("org/name"))->model);
}

TEST(HubCache, AHostileIndexIsRefusedInOneLine) {
  const Folder folder;
  for (const char* index :
       {"", "[]", "{}", R"({"weight_map":{}})", R"({"weight_map":{"x":1}})",
        R"({"weight_map":{"x":"../m.safetensors"}})", R"({"weight_map":{"x":"/m.safetensors"}})",
        R"({"weight_map":{"x":"m.bin"}})", R"({"weight_map":{"x":"a\nb.safetensors"}})",
        R"({"weight_map":["m.safetensors"]})"}) {
    folder.write(kWeightsIndexFile, index);
    const auto shards = read_weights_index(folder.path().string());
    ASSERT_FALSE(shards.ok()) << index;
    EXPECT_EQ(shards.status().message().find('\n'), std::string::npos);
  }
}

TEST(HubCache, ARefIsACommitOrNothing) {
  const CacheFolder folder;
  for (const std::string& text : {std::string(), std::string("../../x"), kCommit + "x", kCommit.substr(1)}) {
    folder.write("models--org--name/refs/main", text);
    EXPECT_FALSE(folder.cache.commit_of("org/name", "main")) << text;
  }
  folder.write("models--org--name/refs/main", kCommit + "\n");
  EXPECT_EQ(folder.cache.commit_of("org/name", "main"), kCommit);
}

TEST(CachedModels, EachIsListedAsItIsNamed) {
  const CacheFolder folder;
  EXPECT_TRUE(list_models(folder.cache)->empty());
  folder.add_model();
  folder.add("config.json", "{}", kOtherCommit);
  folder.add("m-Q4_0.gguf", "1234", kOtherCommit);
  folder.add("n-00001-of-00002.gguf", "12", kOtherCommit);
  folder.write("models--org--other/refs/main", kCommit);
  folder.write("models--org--other/blobs/e.incomplete", "123");
  folder.write("models--org--other/blobs/f.incomplete", "45");
  folder.write("models--../snapshots/x", "");
  folder.write("datasets--org--name/snapshots/x", "");
  std::vector<std::string> rows;
  const auto models = list_models(folder.cache);
  ASSERT_TRUE(models.ok());
  for (const CachedModel& model : *models) {
    rows.push_back(fmt::format("{} {} {}", model.name, model.num_bytes, model.is_complete));
    EXPECT_GT(model.last_used.time_since_epoch().count(), 0);
  }
  const std::string at = "org/name@" + kOtherCommit;
  EXPECT_EQ(rows, (std::vector<std::string>{"org/name 42 true", at + ":m-Q4_0.gguf 4 true",
                                            at + ":n-00001-of-00002.gguf 2 false", "org/other 5 false"}));
  folder.write("file", "");
  EXPECT_EQ(list_models(HubCache(folder.path() / "file/hub")).status().code(), StatusCode::kIo);
}

TEST(CachedModels, WhatDownloadsHaveBegunCanBeRemoved) {
  const CacheFolder folder;
  const auto removed = [&](const std::string& text) {
    return remove_model(folder.cache, repo_reference(text));
  };
  folder.write("models--org--name/blobs/e.incomplete", "12345");
  {
    const auto lock = FileLock::acquire(folder.cache.lock("org/name", "e"), nullptr, {});
    EXPECT_EQ(removed("org/name:Q4_0").status().code(), StatusCode::kUnavailable);
  }
  EXPECT_EQ(*removed("org/name:Q4_0"), 5u);
  EXPECT_FALSE(fs::exists(folder.cache.repo_folder("org/name")));
  EXPECT_FALSE(fs::exists(folder.cache.lock("org/name", "e").parent_path()));
  // Beside a model that is whole.
  folder.add_model();
  folder.write("models--org--name/blobs/e.incomplete", "12345");
  EXPECT_EQ(*removed("org/name:Q4_0"), 5u);
  EXPECT_EQ(removed("org/name:Q4_0").status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(look_up(folder.cache, repo_reference("org/name"))->model);
}

TEST(CachedModels, RemovingLeavesWhatOthersShare) {
  const CacheFolder folder;
  folder.add_model();
  folder.add("config.json", "config.json", kOtherCommit);
  folder.add("m-Q4_0.gguf", "1234", kOtherCommit);
  const auto removed = [&](const std::string& text) {
    return *remove_model(folder.cache, repo_reference(text));
  };
  EXPECT_EQ(remove_model(folder.cache, repo_reference("org/nothing")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(remove_model(folder.cache, repo_reference("org/name@v1")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(remove_model(folder.cache, repo_reference("org/name:Q4_0")).status().code(),
            StatusCode::kNotFound);
  EXPECT_EQ(removed("org/name@" + kOtherCommit + ":q4_0"), 4u);
  EXPECT_EQ(removed("org/name@" + kOtherCommit), 0u);
  EXPECT_FALSE(fs::exists(folder.cache.snapshot("org/name", kOtherCommit)));
  EXPECT_TRUE(look_up(folder.cache, repo_reference("org/name"))->model);
  folder.write("models--org--name/blobs/e.incomplete", "123456");
  EXPECT_EQ(removed("org/name"), 42u + 6 + 40);  // with the ref
  EXPECT_FALSE(fs::exists(folder.cache.repo_folder("org/name")));
}

TEST(CachedModels, RemovingStaysInsideTheCache) {
  const CacheFolder folder;
  const Folder elsewhere;
  elsewhere.write("snapshots/" + kCommit + "/config.json", "keep");
  fs::create_directory_symlink(elsewhere.path(), folder.cache.repo_folder("org/name"));
  EXPECT_FALSE(remove_model(folder.cache, repo_reference("org/name@" + kCommit)).ok());
  EXPECT_FALSE(remove_model(folder.cache, repo_reference("org/name")).ok());
  fs::remove(folder.cache.repo_folder("org/name"));
  // Within a repository links are removed, not what they lead to.
  fs::create_directories(folder.cache.snapshot("org/name", kCommit));
  fs::create_symlink(elsewhere.path() / "snapshots" / kCommit / "config.json",
                     folder.cache.snapshot("org/name", kCommit) / "config.json");
  fs::create_directory_symlink(elsewhere.path(), folder.cache.snapshot("org/name", kCommit) / "sub");
  EXPECT_TRUE(remove_model(folder.cache, repo_reference("org/name")).ok());
  EXPECT_TRUE(fs::exists(elsewhere.path() / "snapshots" / kCommit / "config.json"));
}

TEST(PartialBlob, GoesOnWhereItEnded) {
  const Folder folder;
  // The SHA-256 and git's name of "abc", and a name that says nothing.
  for (const char* name : {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                           "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f", "2d-432a5e4a73a80"}) {
    const fs::path blob = folder.path() / "blobs" / name;
    ASSERT_TRUE(PartialBlob::open(blob, 3)->append("a").ok());
    PartialBlob partial = *PartialBlob::open(blob, 3);
    EXPECT_EQ(partial.size(), 1u);
    ASSERT_TRUE(partial.append("bd").ok());
    EXPECT_EQ(partial.check().ok(), *name == '2') << name;
    ASSERT_TRUE(partial.restart().ok());
    ASSERT_TRUE(partial.append("abc").ok());
    EXPECT_TRUE(partial.check().ok()) << partial.check().message();
    ASSERT_TRUE(partial.publish().ok());
    EXPECT_EQ(fs::file_size(blob), 3u);
    EXPECT_FALSE(fs::exists(blob.string() + ".incomplete"));
  }
}

TEST(FileLock, IsThatOfFlock) {
  const Folder folder;
  const fs::path path = folder.path() / "locks/a.lock";
  int num_waits = 0;
  std::stop_source stopping;
  {
    const auto lock = FileLock::acquire(path, nullptr, {});
    ASSERT_TRUE(lock.ok());
    // The second one waits until it is stopped.
    const auto second = FileLock::acquire(
        path,
        [&] {
          ++num_waits;
          stopping.request_stop();
        },
        stopping.get_token());
    EXPECT_EQ(second.status().code(), StatusCode::kCancelled);
    EXPECT_EQ(num_waits, 1);
  }
  EXPECT_TRUE(FileLock::acquire(path, nullptr, {}).ok());
  EXPECT_TRUE(fs::exists(path));
}

TEST(Backoff, GrowsAndEnds) {
  HttpReply reply;
  reply.status = 503;
  Backoff backoff;
  std::vector<std::int64_t> delays;
  while (const auto delay = backoff.next(reply)) delays.push_back(delay->count());
  EXPECT_EQ(delays, (std::vector<std::int64_t>{500, 1000, 2000, 4000, 8000}));
  backoff.reset();
  reply.retry_after_seconds = 7;
  EXPECT_EQ(backoff.next(reply)->count(), 7000);
  reply.retry_after_seconds = 3600;
  EXPECT_FALSE(backoff.next(reply));
}

TEST(HttpClient, OriginsDifferByHostPortAndScheme) {
  EXPECT_EQ(origin_of("https://HuggingFace.co/a?b"), origin_of("https://huggingface.co:443/c"));
  for (const char* other :
       {"http://huggingface.co/", "https://huggingface.co:444/", "https://huggingface.co.example/",
        "https://huggingface.co@example/", "nonsense"}) {
    EXPECT_NE(origin_of("https://huggingface.co/"), origin_of(other)) << other;
  }
  EXPECT_EQ(escape_url("refs/pr/1 ü%", true), "refs%2Fpr%2F1%20%C3%BC%25");
  EXPECT_EQ(escape_url("a/b", false), "a/b");
}

TEST(Progress, SaysBytesSpeedAndTimeLeft) {
  ManualClock clock;
  std::vector<std::string> lines;
  ProgressMeter meter(
      2'200'000'000, [&](const Progress& p) { lines.push_back(format_progress(p)); }, clock);
  meter.add(100'000'000, false);
  meter.add(1'000'000);
  EXPECT_TRUE(lines.empty());
  clock.advance(std::chrono::seconds(1));
  meter.add(34'000'000);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0], "135 MB of 2.20 GB (6%), 35.0 MB/s, 59 s left");
  meter.take_back(135'000'000);
  meter.add(2'200'000'000);
  meter.finish();
  EXPECT_EQ(lines.back(), "2.20 GB of 2.20 GB (100%)");
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(999'600), "1.00 MB");
  EXPECT_EQ(format_bytes(45'670), "45.7 kB");
}

}  // namespace
}  // namespace kvasir::hub
