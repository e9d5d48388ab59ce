#include "tokenizer/script.h"

#include <string>
#include <utility>

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

// The scripts of Unicode 9, which the reference knows.
constexpr const char* kNames[] = {"Latin",
                                  "Common",
                                  "Han",
                                  "Hiragana",
                                  "Katakana",
                                  "Cyrillic",
                                  "Inherited",
                                  "Hangul",
                                  "Arabic",
                                  "Greek",
                                  "Hebrew",
                                  "Devanagari",
                                  "Thai",
                                  "Adlam",
                                  "Ahom",
                                  "Anatolian_Hieroglyphs",
                                  "Armenian",
                                  "Avestan",
                                  "Balinese",
                                  "Bamum",
                                  "Bassa_Vah",
                                  "Batak",
                                  "Bengali",
                                  "Bhaiksuki",
                                  "Bopomofo",
                                  "Brahmi",
                                  "Braille",
                                  "Buginese",
                                  "Buhid",
                                  "Canadian_Aboriginal",
                                  "Carian",
                                  "Caucasian_Albanian",
                                  "Chakma",
                                  "Cham",
                                  "Cherokee",
                                  "Coptic",
                                  "Cuneiform",
                                  "Cypriot",
                                  "Deseret",
                                  "Duployan",
                                  "Egyptian_Hieroglyphs",
                                  "Elbasan",
                                  "Ethiopic",
                                  "Georgian",
                                  "Glagolitic",
                                  "Gothic",
                                  "Grantha",
                                  "Gujarati",
                                  "Gurmukhi",
                                  "Hanunoo",
                                  "Hatran",
                                  "Imperial_Aramaic",
                                  "Inscriptional_Pahlavi",
                                  "Inscriptional_Parthian",
                                  "Javanese",
                                  "Kaithi",
                                  "Kannada",
                                  "Kayah_Li",
                                  "Kharoshthi",
                                  "Khmer",
                                  "Khojki",
                                  "Khudawadi",
                                  "Lao",
                                  "Lepcha",
                                  "Limbu",
                                  "Linear_A",
                                  "Linear_B",
                                  "Lisu",
                                  "Lycian",
                                  "Lydian",
                                  "Mahajani",
                                  "Malayalam",
                                  "Mandaic",
                                  "Manichaean",
                                  "Marchen",
                                  "Meetei_Mayek",
                                  "Mende_Kikakui",
                                  "Meroitic_Cursive",
                                  "Meroitic_Hieroglyphs",
                                  "Miao",
                                  "Modi",
                                  "Mongolian",
                                  "Mro",
                                  "Multani",
                                  "Myanmar",
                                  "Nabataean",
                                  "New_Tai_Lue",
                                  "Newa",
                                  "Nko",
                                  "Nushu",
                                  "Ogham",
                                  "Ol_Chiki",
                                  "Old_Hungarian",
                                  "Old_Italic",
                                  "Old_North_Arabian",
                                  "Old_Permic",
                                  "Old_Persian",
                                  "Old_South_Arabian",
                                  "Old_Turkic",
                                  "Oriya",
                                  "Osage",
                                  "Osmanya",
                                  "Pahawh_Hmong",
                                  "Palmyrene",
                                  "Pau_Cin_Hau",
                                  "Phags_Pa",
                                  "Phoenician",
                                  "Psalter_Pahlavi",
                                  "Rejang",
                                  "Runic",
                                  "Samaritan",
                                  "Saurashtra",
                                  "Sharada",
                                  "Shavian",
                                  "Siddham",
                                  "SignWriting",
                                  "Sinhala",
                                  "Sora_Sompeng",
                                  "Sundanese",
                                  "Syloti_Nagri",
                                  "Syriac",
                                  "Tagalog",
                                  "Tagbanwa",
                                  "Tai_Le",
                                  "Tai_Tham",
                                  "Tai_Viet",
                                  "Takri",
                                  "Tamil",
                                  "Tangut",
                                  "Telugu",
                                  "Thaana",
                                  "Tibetan",
                                  "Tifinagh",
                                  "Tirhuta",
                                  "Ugaritic",
                                  "Vai",
                                  "Warang_Citi",
                                  "Yi"};
constexpr int kHan = 2, kHiragana = 3, kKatakana = 4;

}  // namespace

Result<Scripts> Scripts::load() {
  std::vector<Regex> patterns;
  for (const char* name : kNames) {
    KVASIR_ASSIGN_OR_RETURN(Regex pattern, Regex::compile(name, "\\p{sc:" + std::string(name) + "}"));
    patterns.push_back(std::move(pattern));
  }
  return Scripts(std::move(patterns));
}

int Scripts::of(char32_t character) const {
  std::string text;
  append(text, character);
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    if (patterns_[i].find_all(text).empty()) continue;
    // Japanese is written in three scripts that belong together; the long vowel mark is theirs too.
    const bool is_japanese = i == kHiragana || i == kKatakana || character == 0x30FC;
    return is_japanese ? kHan : static_cast<int>(i);
  }
  return kAny;
}

}  // namespace kvasir::tokenizer
