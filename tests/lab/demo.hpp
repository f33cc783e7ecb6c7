// `./dev demo`: the whole pair on this machine, in about a minute. Returns 0 if everything was as it should be.
#pragma once

namespace lbcluster::lab {
int demo();
}
