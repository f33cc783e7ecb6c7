// RUN_DIR/forwarderd.owned: what in this kernel is ours, for the next life of this daemon: the IPVS services that we
// made, sysctls and what they were before, whose sync daemon runs, how our nftables table looks,
// and whether our routes of transparent connections are there. In the run folder, as it is about this boot. Whatever is
// not in here and not in the configuration is somebody else's.
//
// A service is written down before it is made, and crossed out after it is gone: a crash leaves at most a line too
// much.
//
// Text, one line each: `forwarderd-owned 1`, `S KEY`, `C NAME BEFORE|SET`, `Y master|backup`, `R TEXT LISTING`
// (hashes), `T 4|6`. Lines that cannot be read are passed over.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "forwarder/core/types.hpp"

namespace lbcluster::forward {

struct SysctlMemory {
    std::string before;
    std::string set;
    bool operator==(const SysctlMemory&) const = default;
};

struct Owned {
    std::set<ServiceKey> services;
    std::map<std::string, SysctlMemory> sysctls;
    std::set<SyncRole> syncs;
    std::set<bool> deliveries;        // of packets with transparent_mark; true: IPv6
    std::uint64_t rules_text = 0;     // stable_hash of what we asked nftables for; 0: nothing
    std::uint64_t rules_listing = 0;  // and of how the kernel shows it
    bool operator==(const Owned&) const = default;
};

// In the run folder.
std::string owned_path(const std::string& run_dir);
std::string render_owned(const Owned& owned);
Owned parse_owned(const std::string& text);
// Nothing there, or more than 4 MiB: empty.
Owned read_owned(const std::string& path);

}  // namespace lbcluster::forward
