// lbcluster-sim explore SCENARIO|CONFIG-DIR
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>

#include "sim/commands.hpp"
#include "sim/explore/judge.hpp"

namespace lbcluster::sim {

namespace {

struct ExploreWish {
    std::string path;
    std::vector<double> losses{0, 5, 10, 20};
    std::vector<std::string> keepalives;
    std::vector<double> factors{3, 5, 10};
    std::string jitter = "2ms";
    unsigned runs = 6;
    std::uint64_t seed = 1;
    unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
    bool json = false;
    std::string plot;
};

int complain(const std::string& what) {
    std::fprintf(stderr, "lbcluster-sim: %s\n", what.c_str());
    return exit_usage;
}

int run(const ExploreWish& wish) {
    ExploreSettings settings{{}, wish.losses, {}, wish.runs, wish.seed, wish.jobs};
    std::sort(settings.losses.begin(), settings.losses.end());
    const auto jitter = parse_duration(wish.jitter);
    if (!jitter) return complain("--jitter: " + jitter.error().message);
    settings.jitter = *jitter;
    std::vector<Duration> keepalives;
    for (const std::string& text : wish.keepalives) {
        const auto keepalive = parse_duration(text);
        if (!keepalive) return complain("--keepalive: " + keepalive.error().message);
        keepalives.push_back(*keepalive);
    }
    const Loaded base = load_base(wish.path);
    if (!base.ok()) {
        std::fputs(config::format(base.problems).c_str(), stderr);
        return exit_invalid;
    }
    if (base.nodes.size() < 2) return complain(wish.path + " is a single node: nothing can fail over");
    settings.timers = keepalives.empty() ? usual_timers(timers_of(base)) : grid(keepalives, wish.factors);

    const bool tell = ::isatty(STDERR_FILENO) == 1;
    const auto cells = explore(base, settings, [&](std::size_t done, std::size_t of) {
        if (tell) std::fprintf(stderr, "\r%zu of %zu %s", done, of, done == of ? "\n" : "");
    });
    const Advice advice = advise(cells);
    std::fputs((wish.json ? explore_json(cells, advice, settings) : explore_text(cells, advice)).c_str(), stdout);
    if (!wish.plot.empty()) {
        std::ofstream file(wish.plot, std::ios::binary);
        file << explore_svg(cells, advice, wish.path);
        file.close();
        if (!file) {
            std::fprintf(stderr, "lbcluster-sim: cannot write '%s': %s\n", wish.plot.c_str(), std::strerror(errno));
            return exit_failed;
        }
    }
    return advice.timers ? exit_done : exit_failed;
}

}  // namespace

void register_explore(CLI::App& app, int& exit_code) {
    auto wish = std::make_shared<ExploreWish>();
    CLI::App* verb = app.add_subcommand("explore", "Compare timers for one configuration, and advise some");
    verb->add_option("SCENARIO|CONFIG-DIR", wish->path,
                     "A scenario (its faults are left out), or a configuration folder")
        ->envname("LBCLUSTER_CONFIG_DIR")
        ->required();
    verb->add_option("--loss", wish->losses, "Per cent of packets lost")
        ->delimiter(',')
        ->check(CLI::Range(0.0, 90.0))
        ->capture_default_str();
    verb->add_option("--keepalive", wish->keepalives, "Instead of the usual timers: 20ms,50ms ...")->delimiter(',');
    verb->add_option("--factor", wish->factors, "With --keepalive: deadtime in keepalives")
        ->delimiter(',')
        ->check(CLI::Range(2.1, 1000.0))
        ->capture_default_str();
    verb->add_option("--jitter", wish->jitter, "Each packet is late by up to this")->capture_default_str();
    verb->add_option("--runs", wish->runs, "Crashes, and quiet runs, for each pair of timers and each loss")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str();
    verb->add_option("--seed", wish->seed, "The first one")->capture_default_str();
    verb->add_option("--jobs", wish->jobs, "Processes at the same time")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    verb->add_flag("--json", wish->json, "The result as JSON");
    verb->add_option("--plot", wish->plot, "Write a picture to this file (SVG)");
    verb->callback([wish, &exit_code] { exit_code = run(*wish); });
}

}  // namespace lbcluster::sim
