// Broken and hostile tokenizer.json: one clear line, never a crash.

#include <gtest/gtest.h>

#include <string>

#include "tokenizer/tokenizer.h"

namespace kvasir::tokenizer {
namespace {

std::string bpe(const std::string& model = R"("type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"])",
                const std::string& rest = "") {
  return "{\"model\":{" + model + "}" + (rest.empty() ? "" : "," + rest) + "}";
}

TEST(HostileTokenizer, IsRefusedInOneLine) {
  ASSERT_TRUE(Tokenizer::from_json("t.json", bpe()).ok());
  const std::string ok = R"("type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"])";
  struct Case {
    std::string text, expected;
  };
  const Case cases[] = {
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"[]", "t.json: expected a JSON object, got array"},
      {"{}", "t.json.model: expected an object, got nothing"},
      {R"({"model":[]})", "t.json.model: expected an object, got array"},
      {std::string(1000, '[') + std::string(1000, ']'), "nested"},
      {bpe(R"("type":"Bpe2")"), "t.json.model: model 'Bpe2' is not supported"},
      {bpe(R"("type":7)"), "t.json.model.type: expected a string, got number"},
      {bpe(R"("type":"BPE")"), "t.json.model.vocab: expected an object, got nothing"},
      {bpe(R"("type":"BPE","vocab":{"a":-1},"merges":[])"), "expected token ids"},
      {bpe(R"("type":"BPE","vocab":{"a":1.5},"merges":[])"), "expected token ids"},
      {bpe(R"("type":"BPE","vocab":{"a":"0"},"merges":[])"), "expected token ids"},
      {bpe(R"("type":"BPE","vocab":{"a":99999999999},"merges":[])"), "expected token ids"},
      {bpe(R"("type":"BPE","vocab":{"a":0,"b":0},"merges":[])"), "occurs twice"},
      {bpe(R"("type":"BPE","vocab":{"a":0})"), "merges: expected an array, got nothing"},
      {bpe(R"("type":"BPE","vocab":{"a":0},"merges":{})"), "merges: expected an array, got object"},
      {bpe(R"("type":"BPE","vocab":{"a":0},"merges":[1])"), "merges[0]: expected two tokens"},
      {bpe(R"("type":"BPE","vocab":{"a":0},"merges":["a"])"), "merges[0]: expected two tokens"},
      {bpe(R"("type":"BPE","vocab":{"a":0},"merges":[["a","a","a"]])"), "merges[0]: expected two tokens"},
      {bpe(R"("type":"BPE","vocab":{"a":0},"merges":["a a"])"), "merges[0]: expected two tokens"},
      {bpe(R"("type":"BPE","vocab":{"a":0},"merges":["a x"])"), "merges[0]: expected two tokens"},
      {bpe(ok + R"(,"unk_token":"zz")"), "unk_token: expected a token of the vocabulary"},
      {bpe(ok + R"(,"dropout":0.1)"), "'dropout' is not supported"},
      {bpe(ok + R"(,"fuse_unk":"no")"), "fuse_unk: expected true or false, got string"},
      {bpe(R"("type":"Unigram","vocab":{})"), "vocab: expected an array"},
      {bpe(R"("type":"Unigram","vocab":[["a"]])"), "vocab[0]: expected [token, score]"},
      {bpe(R"("type":"Unigram","vocab":[["a","b"]])"), "vocab[0]: expected [token, score]"},
      {bpe(R"("type":"Unigram","vocab":[["a",1]],"unk_id":1)"), "unk_id: expected an id of the vocabulary"},
      {bpe(R"("type":"Unigram","vocab":[["a",1]],"unk_id":-1)"), "unk_id: expected a count"},
      {bpe(R"("type":"WordPiece","vocab":{"a":0},"unk_token":"b")"), "unk_token: expected a token"},
      {bpe(R"("type":"WordPiece","vocab":{"[UNK]":0},"max_input_chars_per_word":-1)"), "expected a count"},
      {bpe(ok, R"("normalizer":{})"), "t.json.normalizer.type: expected a string, got nothing"},
      {bpe(ok, R"("normalizer":[])"), "t.json.normalizer.type"},
      {bpe(ok, R"("normalizer":{"type":"Nope"})"), "normalizer 'Nope' is not supported"},
      {bpe(ok, R"("normalizer":{"type":"Sequence"})"), "normalizers: expected an array"},
      {bpe(ok, R"("normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},3]})"),
       "normalizers[1].type"},
      {bpe(ok, R"("normalizer":{"type":"Replace","content":"x"})"), "pattern: expected an object"},
      {bpe(ok, R"("normalizer":{"type":"Replace","pattern":{},"content":"x"})"), "Regex: expected a string"},
      {bpe(ok, R"("normalizer":{"type":"Replace","pattern":{"Regex":"("},"content":"x"})"),
       "pattern at byte"},
      {bpe(ok, R"("normalizer":{"type":"Replace","pattern":{"Regex":"[a"},"content":"x"})"),
       "t.json.normalizer"},
      {bpe(ok, R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"!"})"), "expected base64"},
      {bpe(ok, R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"/////w=="})"),
       "size field is wrong"},
      {bpe(ok, R"("pre_tokenizer":{"type":"Nope"})"), "pre-tokenizer 'Nope' is not supported"},
      {bpe(ok, R"("pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Nope"})"),
       "behavior 'Nope'"},
      {bpe(ok, R"("pre_tokenizer":{"type":"CharDelimiterSplit","delimiter":"ab"})"),
       "expected one character"},
      {bpe(ok, R"("pre_tokenizer":{"type":"Metaspace","replacement":""})"), "expected one character"},
      {bpe(ok, R"("pre_tokenizer":{"type":"Metaspace","prepend_scheme":"x"})"), "prepend_scheme 'x'"},
      {bpe(ok, R"("pre_tokenizer":{"type":"FixedLength","length":0})"), "expected a length above 0"},
      {bpe(ok, R"("post_processor":{"type":"Nope"})"), "post-processor 'Nope' is not supported"},
      {bpe(ok, R"("post_processor":{"type":"TemplateProcessing"})"), "single: expected an array"},
      {bpe(ok, R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}]})"),
       "special_tokens: expected an object"},
      {bpe(ok, R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],)"
               R"("special_tokens":{}})"),
       "expected a name of special_tokens"},
      {bpe(ok, R"("post_processor":{"type":"BertProcessing","cls":["x"],"sep":["y",1]})"),
       "expected [token, id]"},
      {bpe(ok, R"("decoder":{"type":"Nope"})"), "decoder 'Nope' is not supported"},
      {bpe(ok, R"("decoder":{"type":"Strip","content":"ab","start":1,"stop":0})"), "expected one character"},
      {bpe(ok, R"("decoder":{"type":"Strip","content":" ","start":-1,"stop":0})"), "start: expected a count"},
      {bpe(ok, R"("added_tokens":{})"), "added_tokens: expected an array"},
      {bpe(ok, R"("added_tokens":[{"id":5}])"), "added_tokens[0].content: expected a string"},
      {bpe(ok, R"("added_tokens":[{"id":-5,"content":"x"}])"), "added_tokens[0].id: expected a count"},
      {bpe(ok, R"("added_tokens":[{"id":5,"content":"x","lstrip":1}])"), "lstrip: expected true or false"},
  };
  for (const Case& broken : cases) {
    const auto tokenizer = Tokenizer::from_json("t.json", broken.text);
    ASSERT_FALSE(tokenizer.ok()) << broken.text.substr(0, 200);
    const std::string message = tokenizer.status().message();
    EXPECT_TRUE(message.starts_with("t.json")) << message;
    EXPECT_NE(message.find(broken.expected), std::string::npos)
        << message << "\nexpected " << broken.expected;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(HostileTokenizer, TextThatIsNotUtf8IsRefused) {
  const auto tokenizer = Tokenizer::from_json("t.json", bpe());
  for (const char* text : {"\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_EQ((*tokenizer)->encode(text).status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ((*tokenizer)->decode(std::vector<TokenId>{-1, 0, 7, 1 << 30, 1}), "a b");
}

// A pattern that backtracks without end stops at PCRE2's limit.
TEST(HostileTokenizer, ARunawayPatternEnds) {
  const auto tokenizer = Tokenizer::from_json(
      "t.json",
      bpe(R"("type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"])",
          R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+$"},"behavior":"Isolated"})"));
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_TRUE((*tokenizer)->encode(std::string(40, 'a') + "b").ok());
}

}  // namespace
}  // namespace kvasir::tokenizer
