// The colour of a virtual service, as the System Overview shows it (cli-and-config: 'Colours'). Pure; one rule for the
// command line, the daemons and what they tell.
//
//   blue    every server is offline by the operator's wish (drain, halt)
//   green   of those that count, all are up: servers offline by wish and servers on standby do not count
//   yellow  some are up
//   red     none is up; also a service without servers, and one where nobody but standbys is left
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/config.pb.h"

namespace lbcluster::health {

enum class Color { green, yellow, red, blue };

struct ServerView {
    config::ServerState state = config::SERVER_STATE_ONLINE;
    std::string health = "unknown";  // up | down | standby | unknown; unknown is not up
};

Color color_of(const std::vector<ServerView>& servers);
std::string_view word_of(Color color);

}  // namespace lbcluster::health
