// lbcluster-sim swarm: many seeds, each with its own pair and its own faults.
#include <ns3/rng-stream.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "sim/commands.hpp"
#include "sim/swarm/shrink.hpp"

namespace lbcluster::sim {

namespace {

constexpr unsigned shrink_runs_max = 400;
constexpr std::uint64_t report_every = 1000;  // runs, where nobody watches

// SIGINT and SIGTERM: what was found so far is told.
volatile std::sig_atomic_t interrupted = 0;

struct SwarmWish {
    std::uint64_t runs = 1000;
    std::uint64_t seed = 1;
    unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
    double minutes = 0;
    std::size_t violations = 1;
    std::string out = ".";
    bool json = false;
    bool as_found = false;
};

struct Found {
    std::uint64_t seed = 0;
    Outcome outcome;
    std::string file;
};

class Swarm {
  public:
    explicit Swarm(const SwarmWish& wish) : wish_(wish) {}

    int run() {
        search();
        const double seconds = since_begin();
        for (Found& found : found_) {
            shrink_one(found);
            if (!wish_.json) tell(found);
        }
        if (wish_.json) tell_json(seconds);
        else tell_sum(seconds);
        return found_.empty() ? exit_done : exit_failed;
    }

  private:
    [[nodiscard]] double since_begin() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    }

    // Runs that were begun are waited for, so that what is found does not depend on the number of jobs.
    void search() {
        // The first generator computes tables that all of them use, which takes longer than many a run: here, once.
        const ns3::RngStream tables(1, 0, 0);
        Trials trials;
        std::uint64_t next = wish_.seed;
        const std::uint64_t end = wish_.seed + wish_.runs;
        const auto enough = [&] {
            return interrupted != 0 || found_.size() >= wish_.violations ||
                   (wish_.minutes > 0 && since_begin() >= wish_.minutes * 60);
        };
        while (true) {
            while (trials.running() < wish_.jobs && next < end && !enough()) {
                if (!trials.begin(next, compose(draw_mix(next)), false)) break;
                ++next;
            }
            auto ended = trials.next();
            if (!ended) break;
            if (interrupted != 0 && ended->second.violated && ended->second.invariant == 0)
                continue;  // it got the signal, too
            ++runs_;
            moves_ += ended->second.moves;
            heartbeats_ += ended->second.heartbeats;
            if (ended->second.violated) {
                std::fprintf(stderr, "seed %llu: %s: %s\n", static_cast<unsigned long long>(ended->first),
                             ended->second.name.c_str(), ended->second.what.c_str());
                found_.push_back({ended->first, ended->second, {}});
            }
            progress();
        }
        std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) { return a.seed < b.seed; });
        if (found_.size() > wish_.violations) found_.resize(wish_.violations);
    }

    void progress() {
        const bool watched = ::isatty(STDERR_FILENO) == 1;
        if (runs_ % (watched ? 50 : report_every) != 0) return;
        std::fprintf(stderr,
                     watched ? "\r%llu of %llu runs, %.1f a second, %zu violations "
                             : "%llu of %llu runs, %.1f a second, %zu violations\n",
                     static_cast<unsigned long long>(runs_), static_cast<unsigned long long>(wish_.runs),
                     static_cast<double>(runs_) / since_begin(), found_.size());
    }

    void shrink_one(Found& found) const {
        Mix mix = draw_mix(found.seed);
        if (!wish_.as_found) mix = shrink(mix, found.outcome, shrink_runs_max);
        // Once more, with the story.
        const Outcome again = run_trial(compose(mix), true);
        if (again.violated) found.outcome = again;
        const std::string path = wish_.out + "/swarm-" + std::to_string(found.seed) + ".yaml";
        std::ofstream file(path, std::ios::binary);
        file << scenario_file(mix, found.outcome);
        file.close();
        if (file) found.file = path;
        else std::fprintf(stderr, "lbcluster-sim: cannot write '%s': %s\n", path.c_str(), std::strerror(errno));
    }

    static void tell(const Found& found) {
        std::printf("\nseed %llu: ", static_cast<unsigned long long>(found.seed));
        if (found.outcome.invariant == 0)
            std::printf("%s: %s\n", found.outcome.name.c_str(), found.outcome.what.c_str());
        else std::fputs(found.outcome.text.c_str(), stdout);
        if (!found.file.empty()) std::printf("small schedule: %s\n", found.file.c_str());
    }

    void tell_sum(double seconds) const {
        std::printf(
            "\n%llu runs from seed %llu in %.1f s, %.1f a second: %zu violations; %llu heartbeats, %llu moves\n",
            static_cast<unsigned long long>(runs_), static_cast<unsigned long long>(wish_.seed), seconds,
            static_cast<double>(runs_) / seconds, found_.size(), static_cast<unsigned long long>(heartbeats_),
            static_cast<unsigned long long>(moves_));
    }

    void tell_json(double seconds) const {
        nlohmann::ordered_json out;
        out["runs"] = runs_;
        out["seed"] = wish_.seed;
        out["seconds"] = seconds;
        out["heartbeats"] = heartbeats_;
        out["moves"] = moves_;
        out["violations"] = nlohmann::ordered_json::array();
        for (const Found& found : found_) {
            nlohmann::ordered_json one;
            one["seed"] = found.seed;
            one["invariant"] = found.outcome.invariant;
            one["name"] = found.outcome.name;
            one["at"] = static_cast<double>(found.outcome.at.count()) / 1e9;
            one["what"] = found.outcome.what;
            one["file"] = found.file;
            out["violations"].push_back(one);
        }
        std::printf("%s\n", out.dump(2).c_str());
    }

    const SwarmWish& wish_;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    std::vector<Found> found_;
    std::uint64_t runs_ = 0;
    std::uint64_t moves_ = 0;
    std::uint64_t heartbeats_ = 0;
};

}  // namespace

void register_swarm(CLI::App& app, int& exit_code) {
    auto wish = std::make_shared<SwarmWish>();
    CLI::App* verb =
        app.add_subcommand("swarm", "Run random faults, each seed with its own mix, against all invariants");
    verb->add_option("--runs", wish->runs, "How many seeds")->capture_default_str()->check(CLI::PositiveNumber);
    verb->add_option("--seed", wish->seed, "The first one")->capture_default_str();
    verb->add_option("--jobs", wish->jobs, "Runs at the same time")->capture_default_str()->check(CLI::Range(1, 256));
    verb->add_option("--minutes", wish->minutes, "Stop after that long, even if runs are left")
        ->check(CLI::NonNegativeNumber);
    verb->add_option("--violations", wish->violations, "Stop after so many violations")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    verb->add_option("--out", wish->out, "Where to write the schedule of a violation")->capture_default_str();
    verb->add_flag("--as-found", wish->as_found, "Write it as it was found instead of a smaller one");
    verb->add_flag("--json", wish->json, "The result as JSON");
    verb->callback([wish, &exit_code] {
        struct sigaction stop{};
        stop.sa_handler = [](int) { interrupted = 1; };
        ::sigaction(SIGINT, &stop, nullptr);
        ::sigaction(SIGTERM, &stop, nullptr);
        exit_code = Swarm(*wish).run();
    });
}

}  // namespace lbcluster::sim
