#include "bench/bench.h"

#include <vector>

#include "bench/random_model.h"

namespace kvasir::bench {

Command add_bench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure, and hold it against what the machine can do");
  bench->footer("Without a command: the numbers that Kvasir means to reach, in a few minutes.");
  bench->require_subcommand(0, 1);
  std::vector<Command> commands;
  for (const auto add : {add_kernels, add_model, add_engine, add_cache, add_serve, add_make_model})
    commands.push_back(add(*bench));
  return {bench, [commands] {
            for (const Command& command : commands) {
              if (command.app->parsed()) return command.run();
            }
            return run_targets();
          }};
}

void add_shape_option(CLI::App& command, std::string& shape) {
  std::vector<std::string> names;
  for (const ModelShape& known : model_shapes()) names.push_back(known.name);
  command.add_option("--shape", shape, "Shape of the model")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
}

}  // namespace kvasir::bench
