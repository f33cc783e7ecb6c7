// What must not be shown: values whose name says that they are secret. Pure. Private to the configuration library and
// the support bundle.
#pragma once

#include <string>
#include <string_view>

namespace lbcluster::config {

// A value called `name`: *** if the name is that of a secret, else `text` with the secret parts of it masked: the
// values of query parameters and header lines, and who logs in in a URL. `written_ends`: \r and \n of two characters
// end a line, too.
std::string mask_value(std::string_view name, const std::string& text, bool written_ends);

// The lines of a configuration file, as many as before, valid or not. Rather too much is masked than too little.
std::string mask_lines(std::string_view text);

}  // namespace lbcluster::config
