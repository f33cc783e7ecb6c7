#pragma once

#include "lbcluster/base/address.hpp"

namespace lbcluster::cli {

inline IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

}  // namespace lbcluster::cli
