#include "grammar/json_format.h"

#include <string>

namespace kvasir::grammar {
namespace {

// RFC 3339. Months have their days, and leap years their 29th of February; years are from 1000 on. No leap
// seconds.
#define KVASIR_LEAP_YEAR "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|1[26]|[3579][26])00)"
#define KVASIR_DATE                                                    \
  "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|" \
  "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" KVASIR_LEAP_YEAR "-02-29)"
#define KVASIR_TIME \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define KVASIR_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define KVASIR_BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

struct Format {
  std::string_view name, regex;
};
constexpr Format kFormats[] = {
    {"date", KVASIR_DATE},
    {"time", KVASIR_TIME},
    {"date-time", KVASIR_DATE "T" KVASIR_TIME},
    // ISO 8601 as in RFC 3339, appendix A
    {"duration",
     "P(?:[0-9]{1,9}W|[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D|"
     "(?:[0-9]{1,9}[YMD])?T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{"
     "1,9}S))"},
    {"email",
     "[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,32}){0,3}@(?:" KVASIR_LABEL "\\.){1,4}[A-Za-z]{2,24}"},
    {"hostname", KVASIR_LABEL "(?:\\." KVASIR_LABEL "){0,2}"},
    {"ipv4", KVASIR_BYTE "(?:\\." KVASIR_BYTE "){3}"},
    {"uuid", "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"},
};

}  // namespace

std::string_view format_regex(std::string_view format) {
  for (const Format& each : kFormats) {
    if (each.name == format) return each.regex;
  }
  return {};
}

std::string_view supported_formats() {
  return "date, time, date-time, duration, email, hostname, ipv4, uuid";
}

}  // namespace kvasir::grammar
