#include "sim/swarm/trial.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "sim/run/report.hpp"
#include "sim/run/run.hpp"

namespace lbcluster::sim {

namespace {

constexpr unsigned seconds_max = 120;  // a run takes a small part of one

std::string run_here(const Scenario& scenario, bool events) {
    nlohmann::json out;
    const Loaded loaded = load_scenario_message(scenario, "swarm");
    if (!loaded.ok()) {
        out["violated"] = true;
        out["name"] = "scenario refused";
        out["what"] = config::format(loaded.problems);
        return out.dump();
    }
    RunOptions options;
    options.events = events;
    options.stop_at_violation = true;
    const RunResult result = run_simulation(loaded, options);
    out["violated"] = !result.violations.empty();
    out["moves"] = result.moves.size();
    out["heartbeats"] = result.heartbeats;
    if (!result.violations.empty()) {
        const Violation& violation = result.violations.front();
        out["invariant"] = violation.invariant;
        out["name"] = violation.name;
        out["what"] = violation.what;
        out["at"] = violation.at.count();
        if (events) out["text"] = text_violation(violation);
    }
    return out.dump();
}

void write_all(int fd, const std::string& text) {
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        done += static_cast<std::size_t>(n);
    }
}

Outcome outcome_of(const std::string& said, int status) {
    Outcome outcome;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        outcome.violated = true;
        outcome.name = "crash";
        outcome.what = WIFSIGNALED(status)
                           ? (WTERMSIG(status) == SIGALRM ? std::string("it never came to rest")
                                                          : "it ended by signal " + std::to_string(WTERMSIG(status)))
                           : std::string("it ended with an exception");
        return outcome;
    }
    const auto json = nlohmann::json::parse(said, nullptr, false);
    if (json.is_discarded()) {
        outcome.violated = true;
        outcome.name = "crash";
        outcome.what = "it said nothing";
        return outcome;
    }
    outcome.violated = json.value("violated", false);
    outcome.invariant = json.value("invariant", 0U);
    outcome.name = json.value("name", "");
    outcome.what = json.value("what", "");
    outcome.at = Duration{json.value("at", std::int64_t{0})};
    outcome.text = json.value("text", "");
    outcome.moves = json.value("moves", std::uint64_t{0});
    outcome.heartbeats = json.value("heartbeats", std::uint64_t{0});
    return outcome;
}

}  // namespace

Trials::~Trials() {
    for (auto& [number, one] : running_) {
        ::kill(one.pid, SIGKILL);
        ::close(one.pipe);
        ::waitpid(one.pid, nullptr, 0);
    }
}

bool Trials::begin(std::uint64_t number, const Scenario& scenario, bool events) {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    const pid_t child = ::fork();
    if (child < 0) {
        ::close(ends[0]);
        ::close(ends[1]);
        return false;
    }
    if (child == 0) {
        ::close(ends[0]);
        ::signal(SIGINT, SIG_DFL);
        ::signal(SIGTERM, SIG_DFL);
        ::alarm(seconds_max);
        int code = 0;
        try {
            write_all(ends[1], run_here(scenario, events));
        } catch (const std::exception&) {
            code = 1;
        }
        ::_exit(code);
    }
    ::close(ends[1]);
    running_[number] = {child, ends[0], {}};
    return true;
}

std::optional<std::pair<std::uint64_t, Outcome>> Trials::next() {
    while (!running_.empty()) {
        std::vector<pollfd> waiting;
        std::vector<std::uint64_t> numbers;
        for (const auto& [number, one] : running_) {
            waiting.push_back({one.pipe, POLLIN, 0});
            numbers.push_back(number);
        }
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return std::nullopt;
        for (std::size_t i = 0; i < waiting.size(); ++i) {
            if (waiting[i].revents == 0) continue;
            Running& one = running_[numbers[i]];
            char buffer[65536];
            const ssize_t n = ::read(one.pipe, buffer, sizeof buffer);
            if (n < 0 && errno == EINTR) continue;
            if (n > 0) {
                one.said.append(buffer, static_cast<std::size_t>(n));
                continue;
            }
            int status = 0;
            while (::waitpid(one.pid, &status, 0) < 0 && errno == EINTR) {
            }
            ::close(one.pipe);
            auto out = std::make_pair(numbers[i], outcome_of(one.said, status));
            running_.erase(numbers[i]);
            return out;
        }
    }
    return std::nullopt;
}

Outcome run_trial(const Scenario& scenario, bool events) {
    Trials trials;
    if (!trials.begin(0, scenario, events)) return {true, 0, "crash", "cannot fork", Duration{0}, "", 0, 0};
    const auto ended = trials.next();
    return ended ? ended->second : Outcome{};
}

}  // namespace lbcluster::sim
