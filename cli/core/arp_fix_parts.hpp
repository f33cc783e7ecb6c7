// The parts of arp_fix.cpp: one function a family of systems. Pure.
#pragma once

#include <string>

#include "cli/core/arp_fix.hpp"

namespace lbcluster::cli {

Fix linux_fix(const Fixable& service, FixMethod method, bool undo);
Fix bsd_fix(const Fixable& service, bool undo);
Fix macos_fix(const Fixable& service, bool undo);
Fix solaris_fix(const Fixable& service, bool undo);
Fix windows_fix(const Fixable& service, FixMethod method, bool undo);

// 10.0.0.1/32, fd00::1/128
std::string alone(const IpAddress& address);
// "tcp 80, 443-445"
std::string traffic_text(const Fixable& service);
// The comment that opens a script, each line with `mark` in front.
std::string opening(const Fixable& service, const Fix& fix, const std::string& mark, bool undo);

}  // namespace lbcluster::cli
