// lbcluster complete -- WORD...: what the shells' completion asks (lbcluster/reference/completion.hpp). In no --help;
// it never fails and says nothing on stderr, as it runs while somebody types.
#pragma once

#include <string>
#include <vector>

#include "context.hpp"

namespace CLI {
class App;
}

namespace lbcluster::cli {

void complete(const CLI::App& app, Context context, const std::vector<std::string>& words);

}  // namespace lbcluster::cli
