// Questions to the person at the terminal (/dev/tty, whatever stdin and stdout are). Blocks.
#pragma once

#include <optional>
#include <string>

namespace lbcluster::cli {

// Nothing: there is no terminal. `text` is shown as it is; no line end is added.
std::optional<std::string> ask(const std::string& text);
// The same without showing what is typed.
std::optional<std::string> ask_secret(const std::string& text);

}  // namespace lbcluster::cli
