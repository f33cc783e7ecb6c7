// What whoever keeps the addresses must not do for the moment. The core decides it (Core::restraint()), after every
// step the shell passes it on.
#pragma once

namespace lbcluster::heartbeat {

struct Restraint {
    bool put_nothing_back = false;  // what others removed
    bool announce_nothing = false;
    bool operator==(const Restraint&) const = default;
};

}  // namespace lbcluster::heartbeat
