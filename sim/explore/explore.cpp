#include "sim/explore/explore.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>

#include "sim/run/run.hpp"

namespace lbcluster::sim {

namespace {

constexpr int quiet_keepalives = 600;
constexpr Duration conflict_check = 500ms;  // before the first activation
constexpr Duration rest = 1s;               // after a crash, beyond what the rules may take

// The text of a cluster.yaml with other timers. What is derived from them is left to be derived again.
std::string with_timers(const std::string& yaml, const TriedTimers& timers) {
    config::ClusterConfig cluster;
    config::Positions positions;
    config::Problems problems;
    config::parse_yaml(yaml, "", cluster, positions, problems);  // was read before, so it is right
    config::Heartbeat& heartbeat = *cluster.mutable_heartbeat();
    heartbeat.clear_warntime();
    *heartbeat.mutable_keepalive() = from_duration(timers.keepalive);
    *heartbeat.mutable_deadtime() = from_duration(timers.deadtime);
    if (heartbeat.has_initdead() && to_duration(heartbeat.initdead()) < timers.deadtime) heartbeat.clear_initdead();
    const bool leased = heartbeat.has_vip_lease() && to_duration(heartbeat.vip_lease()) > Duration{0};
    if (leased && to_duration(heartbeat.vip_lease()) < timers.deadtime + 1500ms) heartbeat.clear_vip_lease();
    return config::to_yaml(cluster);
}

// The user's pair and network, with nothing that happens.
Scenario pair_with(const Loaded& base, const TriedTimers& timers) {
    Scenario out = base.scenario;
    out.clear_faults();
    out.clear_expect();
    out.clear_nodes();
    out.clear_cluster();
    out.clear_cluster_file();
    for (std::size_t i = 0; i < base.nodes.size(); ++i) {
        NodeEntry& node = *out.add_nodes();
        node.set_node(base.nodes[i].node_yaml);
        // As it is where nothing shall be changed.
        node.set_cluster(timers.configured ? base.nodes[i].cluster_yaml
                                           : with_timers(base.nodes[i].cluster_yaml, timers));
        if (static_cast<int>(i) < base.scenario.nodes_size()) {
            *node.mutable_addresses() = base.scenario.nodes(static_cast<int>(i)).addresses();
        }
    }
    return out;
}

void add_weather(Scenario& scenario, const Loaded& base, Duration from, double loss, Duration jitter) {
    std::vector<std::string> ends;
    for (const NodePlan& node : base.nodes) ends.push_back(node.setup.settings.node);
    const std::size_t nodes = ends.size();
    for (const HostPlan& host : base.hosts) {
        if (host.kind == HOST_KIND_ROUTER) ends.push_back(host.name);
    }
    const auto add = [&](const std::string& a, const std::string& b) {
        Fault fault;
        *fault.mutable_at() = from_duration(from);
        fault.set_from(a);
        fault.set_to(b);
        if (loss > 0) {
            fault.set_fault(FAULT_KIND_LOSS);
            fault.set_percent(loss);
            *scenario.add_faults() = fault;
        }
        if (jitter > Duration{0}) {
            fault.set_fault(FAULT_KIND_JITTER);
            fault.clear_percent();
            *fault.mutable_delay() = from_duration(jitter);
            *scenario.add_faults() = fault;
        }
    };
    for (std::size_t i = 0; i < nodes; ++i) {
        for (std::size_t j = i + 1; j < ends.size(); ++j) {
            add(ends[i], ends[j]);
            add(ends[j], ends[i]);
        }
    }
}

// The primary serves; of two with the same role the one with the lower name.
std::string first_to_serve(const Loaded& base) {
    const heartbeat::Settings& a = base.nodes.front().setup.settings;
    const heartbeat::Settings& b = base.nodes.back().setup.settings;
    if (a.primary != b.primary) return a.primary ? a.node : b.node;
    return std::min(a.node, b.node);
}

RunResult simulate(const Scenario& scenario, std::uint64_t seed, std::string& problem) {
    const Loaded loaded = load_scenario_message(scenario, "explore");
    if (!loaded.ok()) {
        problem = config::format(loaded.problems);
        return {};
    }
    RunOptions options;
    options.seed = seed;
    options.events = false;
    options.invariants = false;
    options.probe_min = 1s;
    return run_simulation(loaded, options);
}

void crash(const Loaded& base, const ExploreSettings& settings, Cell& cell, unsigned number, Duration settled) {
    Scenario scenario = pair_with(base, cell.timers);
    // Spread evenly over the time between two heartbeats.
    const Duration at = settled + 10 * cell.timers.keepalive + cell.timers.keepalive * number / settings.runs;
    add_weather(scenario, base, settled, cell.loss, settings.jitter);
    Fault fault;
    *fault.mutable_at() = from_duration(at);
    fault.set_fault(FAULT_KIND_CRASH);
    fault.set_node(first_to_serve(base));
    *scenario.add_faults() = fault;
    const Duration end = at + 3 * cell.timers.deadtime + 20 * cell.timers.keepalive + rest;
    *scenario.mutable_duration() = from_duration(std::max<Duration>(end, 1s));
    const RunResult result = simulate(scenario, settings.seed + number, cell.problem);
    Duration longest{0};
    bool served = true;
    for (const ServiceWatch::Gap& gap : result.gaps) {
        if (gap.when.to <= at) continue;
        longest = std::max(longest, gap.when.length());
        served = served && gap.when.to < end;
    }
    cell.crashes.push_back(longest);
    if (!served) ++cell.unserved;
}

void quiet(const Loaded& base, const ExploreSettings& settings, Cell& cell, unsigned number, Duration settled) {
    Scenario scenario = pair_with(base, cell.timers);
    add_weather(scenario, base, settled, cell.loss, settings.jitter);
    const Duration lasts = std::max<Duration>(quiet_keepalives * cell.timers.keepalive, 4 * cell.timers.deadtime);
    *scenario.mutable_duration() = from_duration(settled + lasts);
    const RunResult result = simulate(scenario, settings.seed + settings.runs + number, cell.problem);
    cell.moves += static_cast<unsigned>(result.moves.size());
    cell.quiet += lasts;
}

std::string fill(const Loaded& base, const ExploreSettings& settings, Cell cell) {
    const Duration settled = conflict_check + 2 * cell.timers.deadtime + 10 * cell.timers.keepalive;
    for (unsigned i = 0; i < settings.runs && cell.problem.empty(); ++i) {
        crash(base, settings, cell, i, settled);
        quiet(base, settings, cell, i, settled);
    }
    nlohmann::json out;
    out["crashes"] = nlohmann::json::array();
    for (const Duration one : cell.crashes) out["crashes"].push_back(one.count());
    out["unserved"] = cell.unserved;
    out["moves"] = cell.moves;
    out["quiet"] = cell.quiet.count();
    out["problem"] = cell.problem;
    return out.dump();
}

void take(Cell& cell, const std::string& said) {
    const auto json = nlohmann::json::parse(said, nullptr, false);
    if (json.is_discarded()) {
        cell.problem = "its process ended too early";
        return;
    }
    for (const auto& one : json["crashes"]) cell.crashes.emplace_back(one.get<std::int64_t>());
    std::sort(cell.crashes.begin(), cell.crashes.end());
    cell.unserved = json["unserved"];
    cell.moves = json["moves"];
    cell.quiet = Duration{json["quiet"].get<std::int64_t>()};
    cell.problem = json["problem"];
}

struct Child {
    pid_t pid = -1;
    int pipe = -1;
    std::string said;
};

bool begin(Child& child, const Loaded& base, const ExploreSettings& settings, const Cell& cell) {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    child.pid = ::fork();
    if (child.pid < 0) {
        ::close(ends[0]);
        ::close(ends[1]);
        return false;
    }
    child.pipe = ends[0];
    if (child.pid != 0) {
        ::close(ends[1]);
        return true;
    }
    const std::string text = fill(base, settings, cell);
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t n = ::write(ends[1], text.data() + done, text.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) ::_exit(1);
        done += static_cast<std::size_t>(n);
    }
    ::_exit(0);
}

// Waits for one of them; its number.
std::size_t wait_for_one(std::map<std::size_t, Child>& children) {
    while (true) {
        std::vector<pollfd> waiting;
        std::vector<std::size_t> numbers;
        for (const auto& [number, child] : children) {
            waiting.push_back({child.pipe, POLLIN, 0});
            numbers.push_back(number);
        }
        if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
        for (std::size_t i = 0; i < waiting.size(); ++i) {
            if (waiting[i].revents == 0) continue;
            Child& child = children[numbers[i]];
            char buffer[4096];
            const ssize_t n = ::read(child.pipe, buffer, sizeof buffer);
            if (n > 0) child.said.append(buffer, static_cast<std::size_t>(n));
            if (n == 0) return numbers[i];
        }
    }
}

}  // namespace

double Cell::moves_an_hour() const {
    const double hours = std::chrono::duration<double, std::ratio<3600>>(quiet).count();
    return hours > 0 ? moves / hours : 0;
}

std::vector<Cell> explore(const Loaded& base, const ExploreSettings& settings,
                          const std::function<void(std::size_t done, std::size_t of)>& progress) {
    std::vector<Cell> cells;
    for (const TriedTimers& timers : settings.timers) {
        for (const double loss : settings.losses) cells.push_back({timers, loss, {}, 0, 0, {}, {}});
    }
    std::map<std::size_t, Child> running;
    std::size_t next = 0;
    std::size_t done = 0;
    while (done < cells.size()) {
        while (running.size() < std::max(1U, settings.jobs) && next < cells.size()) {
            Child child;
            if (begin(child, base, settings, cells[next])) running.emplace(next, std::move(child));
            else {
                cells[next].problem = "cannot start a process";
                ++done;
            }
            ++next;
        }
        if (running.empty()) continue;
        const std::size_t number = wait_for_one(running);
        Child& child = running[number];
        while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        ::close(child.pipe);
        take(cells[number], child.said);
        running.erase(number);
        progress(++done, cells.size());
    }
    return cells;
}

}  // namespace lbcluster::sim
