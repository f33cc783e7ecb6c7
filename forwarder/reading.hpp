// What the kernel's IPVS has, with its counts. A value.
#pragma once

#include <map>

#include "forwarder/core/types.hpp"

namespace lbcluster::forward {

struct ServiceCounters {
    Counters total;
    std::map<DestinationKey, Counters> servers;
};

struct Reading {
    Table table;
    std::map<ServiceKey, ServiceCounters> counters;
};

}  // namespace lbcluster::forward
