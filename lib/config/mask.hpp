// What must not be shown: values whose name says that they are secret. Pure. Private to the configuration library.
#pragma once

#include <string>
#include <string_view>

namespace lbcluster::config {

inline constexpr const char* stars = "***";  // what is shown instead

// A value called `name`: *** if the name is that of a secret, else `text` with the secret parts of it masked: the
// values of query parameters and header lines, who logs in in a URL, and what follows the commands AUTH and PASS. Of a
// `url` only scheme and host are left. `written_ends`: \r and \n of two characters end a line, too.
std::string mask_value(std::string_view name, const std::string& text, bool written_ends);

bool is_secret_name(std::string_view name);

// The lines of a configuration file, as many as before, valid or not. Rather too much is masked than too little.
std::string mask_lines(std::string_view text);

// The same of logs, HAProxy's configuration and whatever else is no YAML.
std::string mask_text(std::string_view text);

// Whether HAProxy expects a header's name behind it.
bool is_header_word(std::string_view word);

}  // namespace lbcluster::config
