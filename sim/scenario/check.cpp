#include "sim/scenario/check.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "lib/config/reflect.hpp"

namespace lbcluster::sim {

namespace {

// Which keys a fault takes; `!` in front: it must have it. `at`, `note`, `on`, `off` go with every one that lasts.
const std::map<FaultKind, std::vector<std::string>>& keys_of_faults() {
    static const std::map<FaultKind, std::vector<std::string>> keys{
        {FAULT_KIND_CRASH, {"!node", "for"}},
        {FAULT_KIND_REBOOT, {"!node", "for"}},
        {FAULT_KIND_PAUSE, {"!node", "!for"}},
        {FAULT_KIND_BOOT, {"!node"}},
        {FAULT_KIND_KILL, {"!node", "for"}},
        {FAULT_KIND_STOP, {"!node", "for"}},
        {FAULT_KIND_TERMINATE, {"!node", "for"}},
        {FAULT_KIND_START, {"!node"}},
        {FAULT_KIND_STARVE, {"!node", "!delay", "for"}},
        {FAULT_KIND_CLOCK_DRIFT, {"!node", "!percent", "for"}},
        {FAULT_KIND_SLOW_ADDRESSES, {"!node", "!delay", "for"}},
        {FAULT_KIND_FAIL_TO_ADD, {"!node", "for"}},
        {FAULT_KIND_DISK_FULL, {"!node", "for"}},
        {FAULT_KIND_REMOVE_ADDRESS, {"!node"}},
        {FAULT_KIND_RELOAD, {"node", "!cluster"}},
        {FAULT_KIND_ACTIVATE, {"!node", "force"}},
        {FAULT_KIND_STANDBY, {"!node", "force"}},
        {FAULT_KIND_UNSTANDBY, {"!node"}},
        {FAULT_KIND_RESTART, {"!node"}},
        {FAULT_KIND_CABLE, {"!node", "!network", "for"}},
        {FAULT_KIND_SWITCH_DOWN, {"network", "for"}},
        {FAULT_KIND_CUT, {"network", "from", "to", "for"}},
        {FAULT_KIND_LOSS, {"network", "from", "to", "!percent", "for"}},
        {FAULT_KIND_BURST_LOSS, {"network", "from", "to", "!percent", "!delay", "for"}},
        {FAULT_KIND_DELAY, {"network", "from", "to", "!delay", "for"}},
        {FAULT_KIND_JITTER, {"network", "from", "to", "!delay", "for"}},
        {FAULT_KIND_DUPLICATE, {"network", "from", "to", "!percent", "for"}},
        {FAULT_KIND_REORDER, {"network", "from", "to", "!percent", "!delay", "for"}},
        {FAULT_KIND_CORRUPT, {"network", "from", "to", "!percent", "for"}},
        {FAULT_KIND_FILTER_ANNOUNCEMENTS, {"network", "from", "to", "percent", "for"}},
        {FAULT_KIND_FILTER_ARP, {"network", "from", "to", "for"}},
        {FAULT_KIND_HOST_DOWN, {"!host", "for"}},
        {FAULT_KIND_STRANGER, {"!host", "for"}},
        {FAULT_KIND_REPLAY, {"!node", "!rate", "for"}},
        {FAULT_KIND_REFLECT, {"!node", "!rate", "for"}},
        {FAULT_KIND_FORGE, {"!node", "!rate", "for"}},
        {FAULT_KIND_FLIP, {"!node", "!rate", "for"}},
        {FAULT_KIND_MISDIRECT, {"!node", "!rate", "for"}},
    };
    return keys;
}

class Checker {
  public:
    Checker(Loaded& loaded, const config::Positions& positions) : loaded_(loaded), positions_(positions) {
        for (const NodePlan& node : loaded.nodes) nodes_.push_back(node.setup.settings.node);
        for (const HostPlan& host : loaded.hosts) hosts_.push_back(host.name);
        for (const NetworkPlan& network : loaded.networks) networks_.push_back(network.name);
        if (loaded.serial) networks_.emplace_back("serial");
        machines_ = nodes_;
        machines_.insert(machines_.end(), hosts_.begin(), hosts_.end());
    }

    void run() {
        const Scenario& s = loaded_.scenario;
        std::set<std::string> names;
        for (const std::string& name : machines_) {
            if (!names.insert(name).second) report("hosts", "two machines are named '" + name + "'", "");
        }
        for (int i = 0; i < s.faults_size(); ++i) check(s.faults(i), "faults[" + std::to_string(i) + "]");
        for (int i = 0; i < s.expect_size(); ++i) check(s.expect(i), "expect[" + std::to_string(i) + "]");
    }

  private:
    void report(const std::string& path, const std::string& message, const std::string& hint) {
        const config::Position at = positions_.find(path);
        loaded_.problems.push_back({loaded_.file, at.line, at.column, message, hint});
    }

    void known(const std::string& path, const std::string& name, const std::vector<std::string>& names,
               const char* what) {
        if (std::find(names.begin(), names.end(), name) != names.end()) return;
        std::string list;
        for (const std::string& one : names) list += (list.empty() ? "" : ", ") + one;
        const std::string near = config::nearest(name, names);
        report(path, "there is no " + std::string(what) + " '" + name + "'",
               near.empty() ? "there are " + list : "did you mean '" + near + "'?");
    }

    void in_time(const std::string& path, Duration at) {
        const Duration end = to_duration(loaded_.scenario.duration());
        if (at > end) report(path, format_duration(at) + " is after the end (" + format_duration(end) + ")", "");
    }

    void check(const Fault& fault, const std::string& path) {
        const std::string kind = word(fault.fault());
        const auto& keys = keys_of_faults().at(fault.fault());
        const auto* type = fault.GetDescriptor();
        bool lasts = false;
        for (int i = 0; i < type->field_count(); ++i) {
            const auto* field = type->field(i);
            const std::string& name = field->name();
            const bool given = fault.GetReflection()->HasField(fault, field);
            const bool needed = std::find(keys.begin(), keys.end(), "!" + name) != keys.end();
            const bool taken = needed || std::find(keys.begin(), keys.end(), name) != keys.end();
            if (name == "for") lasts = taken;
            if (name == "at" || name == "fault" || name == "note") continue;
            if (name == "until" || name == "on" || name == "off") {
                if (given && !lasts)
                    report(path + "." + name, kind + " takes no '" + name + "': it is over at once", "");
                continue;
            }
            const bool instead = name == "for" && fault.has_until();
            if (needed && !given && !instead) report(path, kind + " needs '" + name + "'", "");
            if (given && !taken) report(path + "." + name, kind + " takes no '" + name + "'", "");
        }
        in_time(path + ".at", to_duration(fault.at()));
        if (fault.has_for_() && fault.has_until()) report(path, "'for' and 'until' are both given", "give one of them");
        if (fault.has_until() && to_duration(fault.until()) <= to_duration(fault.at())) {
            report(path + ".until", "'until' is not after 'at'", "");
        }
        if (fault.has_on() != fault.has_off()) report(path, "'on' and 'off' go together", "");
        if (fault.has_node()) known(path + ".node", fault.node(), nodes_, "node");
        if (fault.has_host()) known(path + ".host", fault.host(), hosts_, "host");
        if (fault.has_network()) known(path + ".network", fault.network(), networks_, "network");
        if (fault.has_from()) known(path + ".from", fault.from(), machines_, "machine");
        if (fault.has_to()) known(path + ".to", fault.to(), machines_, "machine");
        if (fault.has_percent() && fault.percent() < 0 && fault.fault() != FAULT_KIND_CLOCK_DRIFT) {
            report(path + ".percent", "less than 0", "");
        }
    }

    void check(const Expectation& expect, const std::string& path) {
        const bool moment = expect.has_active() || expect.has_clients_reach() || expect.alarms_size() > 0;
        if (moment && !expect.has_at()) report(path, "it needs 'at'", "when shall that be so?");
        if (expect.has_at()) in_time(path + ".at", to_duration(expect.at()));
        if (expect.has_at() && !moment)
            report(path + ".at", "'at' what?", "give 'active', 'clients_reach' or 'alarms'");
        auto names = nodes_;
        names.insert(names.end(), {"none", "both"});
        if (expect.has_active()) known(path + ".active", expect.active(), names, "node");
        if (expect.has_clients_reach()) known(path + ".clients_reach", expect.clients_reach(), nodes_, "node");
        if (expect.has_node()) known(path + ".node", expect.node(), nodes_, "node");
        const bool whole = expect.has_gap_max() || expect.has_gap_min() || expect.has_both_max() ||
                           expect.has_moves() || expect.has_moves_max() || expect.has_event() || expect.has_no_event();
        if (!moment && !whole) report(path, "it expects nothing", "");
    }

    Loaded& loaded_;
    const config::Positions& positions_;
    std::vector<std::string> nodes_;
    std::vector<std::string> hosts_;
    std::vector<std::string> networks_;
    std::vector<std::string> machines_;
};

}  // namespace

void check_scenario(Loaded& loaded, const config::Positions& positions) { Checker(loaded, positions).run(); }

}  // namespace lbcluster::sim
