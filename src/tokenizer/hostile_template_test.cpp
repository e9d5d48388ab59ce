// Templates and contexts that mean harm end in one clear line, soon.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tokenizer/chat_template.h"

namespace kvasir::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

std::string repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

Result<std::string> render(const std::string& source, const Json& context = Json::object()) {
  const auto parsed = ChatTemplate::parse("t", source);
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->render(context, {});
}

void expect_refused(const std::string& source, const std::string& reason) {
  const Result<std::string> text = render(source);
  ASSERT_FALSE(text.ok()) << source.substr(0, 200);
  EXPECT_NE(text.status().message().find(reason), std::string::npos)
      << source.substr(0, 200) << "\n"
      << text.status().message().substr(0, 300);
  EXPECT_EQ(text.status().message().find('\n'), std::string::npos);
}

TEST(HostileTemplate, MemoryIsLimited) {
  const std::string grow = "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
  for (const std::string& source : {
           std::string("{{ 'a' * 10**9 }}"),
           std::string("{{ 'a' * 10**30 }}"),
           std::string("{{ [0] * 10**9 }}"),
           "{% set ns = namespace(x='ab') %}" + grow,
           std::string("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x "
                       "%}{% endfor %}"),
           std::string("{{ 'a'.center(10**9) }}"),
           std::string("{{ 'a'|center(10**9) }}"),
           std::string("{{ 'a'.zfill(10**9) }}"),
           std::string("{{ '\\t'.expandtabs(10**9) }}"),
           std::string("{{ '\\t'.expandtabs(10**30) }}"),
           std::string("{{ '%1000000000d' % 1 }}"),
           std::string("{{ '{:1000000000}'.format(1) }}"),
           std::string("{{ 'a\\nb'|indent(10**9) }}"),
           std::string("{{ [1]|tojson(indent=10**9) }}"),
           std::string("{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}"),
           std::string("{{ ('b' * 10**6).join('a' * 10**6) }}"),
           std::string("{{ [1]|batch(10**9, 0)|list }}"),
       }) {
    expect_refused(source, "more than");
  }
}

TEST(HostileTemplate, StepsAreLimited) {
  const std::string loops = repeat("{% for i in range(99999) %}", 4) + "x" + repeat("{% endfor %}", 4);
  expect_refused(loops, "more than");
  expect_refused("{% set a = 'a' * 10**6 %}" + repeat("{% for i in range(9999) %}", 2) + "{{ 'b' in a }}" +
                     repeat("{% endfor %}", 2),
                 "more than");
  expect_refused("{{ range(10**12) }}", "Range too big");
  expect_refused("{{ [1]|slice(10**12)|list }}", "more than");
  // Values that hold each other twice are small in memory and exponential to go through.
  const std::string doubled =
      "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  expect_refused(doubled + "{{ ns.x }}", "more than");
  expect_refused(doubled + "{{ ns.x|tojson }}", "more than");
  expect_refused(doubled + "{% set y = ns.x %}" + doubled + "{{ ns.x == y }}", "more than");
}

TEST(HostileTemplate, DepthIsLimited) {
  constexpr int kDeep = 100'000;
  expect_refused("{{ " + repeat("(", kDeep) + "1" + repeat(")", kDeep) + " }}", "inside each other");
  expect_refused("{{ " + repeat("[", kDeep), "inside each other");
  expect_refused("{{ " + repeat("-", kDeep) + "1 }}", "inside each other");
  expect_refused("{{ " + repeat("not ", kDeep) + "1 }}", "inside each other");
  expect_refused("{{ 1" + repeat(" + 1", kDeep) + " }}", "inside each other");
  expect_refused("{{ 1" + repeat("|abs", kDeep) + " }}", "inside each other");
  expect_refused("{{ a" + repeat(".b", kDeep) + " }}", "inside each other");
  expect_refused("{{ " + repeat("f(", kDeep) + repeat(")", kDeep) + " }}", "inside each other");
  expect_refused("{{ " + repeat("1 if 1 else ", kDeep / 2) + "1 }}", "inside each other");
  expect_refused("{{ 1" + repeat(" if 1", kDeep) + " }}", "inside each other");
  expect_refused(repeat("{% if 1 %}", kDeep / 2), "inside each other");
  expect_refused("{% for " + repeat("(", kDeep) + repeat(")", kDeep) + " %}", "inside each other");
  expect_refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion");
  expect_refused("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
                 "recursion");
  expect_refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursion");
  const std::string deep =
      "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}";
  expect_refused(deep + "{{ ns.x }}", "recursion");
  expect_refused(deep + "{{ ns.x|tojson }}", "recursion");
  expect_refused("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "recursion");
}

TEST(HostileTemplate, TheSandboxKeepsItsOwn) {
  for (const char* source : {"{{ ''.__class__.__mro__ }}", "{{ [].append(1) }}", "{{ {}.update({}) }}",
                             "{{ {}.pop('a') }}", "{{ range.__self__.x }}", "{{ [].sort() }}"}) {
    expect_refused(source, "unsafe");
  }
}

TEST(HostileTemplate, ContextsAreLimitedToo) {
  Json deep = Json::array();
  for (int i = 0; i < 1000; ++i) deep = Json::array({std::move(deep)});
  const Result<std::string> text = render("{{ x }}", Json{{"x", deep}});
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.status().message().find("inside each other"), std::string::npos);
  EXPECT_EQ(render("{{ x }}", Json{{"x", "a\xff"}}).value(), "a\xEF\xBF\xBD");
  EXPECT_FALSE(render("{{ x }}", Json::array()).ok());
}

TEST(HostileTemplate, SourceIsChecked) {
  EXPECT_FALSE(ChatTemplate::parse("t", std::string(2 << 20, ' ')).ok());
  EXPECT_FALSE(ChatTemplate::parse("t", "{{ '\xff' }}").ok());
  for (const char* source : {"{{",
                             "{%",
                             "{#",
                             "{% raw %}",
                             "{{ '",
                             "{{ 'a\\",
                             "{{ ) }}",
                             "{{ (] }}",
                             "{{ 1 ! 2 }}",
                             "{{ '\\x4' }}",
                             "{{ '\\U00110000' }}",
                             "{% for %}",
                             "{% for x %}",
                             "{% set = 1 %}",
                             "{% set 1 = 1 %}",
                             "{% macro %}",
                             "{% macro m(a=1, b) %}{% endmacro %}",
                             "{% endfor %}",
                             "{% %}",
                             "{{ a[ }}",
                             "{{ a[] }}",
                             "{{ f(*a, *b) }}",
                             "{{ f(a=1, 2) }}",
                             "{{ {1} }}",
                             "{% call x %}{% endcall %}"}) {
    EXPECT_FALSE(ChatTemplate::parse("t", source).ok()) << source;
  }
}

// Text that is put together piece by piece costs its length, not the sum of the lengths on the way.
TEST(HostileTemplate, AppendingIsLinear) {
  const std::string source =
      "{% set ns = namespace(x='') %}{% for i in range(50000) %}{% set ns.x = ns.x ~ '0123456789' %}{% "
      "endfor %}"
      "{{ ns.x|length }}";
  EXPECT_EQ(render(source).value(), "500000");
}

}  // namespace
}  // namespace kvasir::tokenizer
