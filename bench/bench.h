#pragma once

// The command `kvasir bench` and those below it: each measures one thing and prints it beside the machine's
// limit.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "base/status.h"

namespace kvasir::bench {

struct Command {
  CLI::App* app = nullptr;      // says whether it was given
  std::function<Status()> run;  // Requires: the flags have been parsed
};

// Adds `bench` with its commands to `app`.
Command add_bench(CLI::App& app);

// Its commands, one in each *_bench.cpp and make_model.cpp.
Command add_cache(CLI::App& bench);
Command add_engine(CLI::App& bench);
Command add_kernels(CLI::App& bench);
Command add_make_model(CLI::App& bench);
Command add_model(CLI::App& bench);
Command add_serve(CLI::App& bench);

// Measures the numbers that Kvasir means to reach and prints them as a table, in a few minutes.
Status run_targets();

// Adds --shape with the names of model_shapes().
void add_shape_option(CLI::App& command, std::string& shape);

}  // namespace kvasir::bench
