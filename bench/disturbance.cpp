#include "bench/disturbance.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <sstream>
#include <thread>

#include "tests/lab/measure.hpp"

namespace lbcluster::bench {

namespace {

using namespace std::chrono_literals;

// Notes when a host gets the address and loses it, from what its kernel tells.
class Holdings {
  public:
    explicit Holdings(lab::Lab& lab) {
        for (const std::string host : {"lb1", "lb2"}) {
            held_[host] = lab.holds(host, first_address);
            const int out = ::open(path(host).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
            pids_.push_back(lab::spawn(&lab.host(host),
                                       {.argv = {"ip", "-o", "-4", "monitor", "address"}, .out = out, .err = out}));
            ::close(out);
        }
        std::this_thread::sleep_for(200ms);
    }
    ~Holdings() {
        for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
        for (const pid_t pid : pids_) ::waitpid(pid, nullptr, 0);
    }
    Holdings(const Holdings&) = delete;
    Holdings& operator=(const Holdings&) = delete;

    [[nodiscard]] unsigned moves() const {
        unsigned count = 0;
        for (auto [host, held] : held_) {
            std::istringstream lines(lab::read_file(path(host)));
            for (std::string line; std::getline(lines, line);) {
                if (line.find(std::string(" ") + first_address + "/") == std::string::npos) continue;
                const bool gone = line.starts_with("Deleted");
                if (!gone && !held) ++count;
                held = !gone;
            }
        }
        return count;
    }

  private:
    static std::string path(const std::string& host) { return "/run/bench/" + host + ".addresses"; }
    std::map<std::string, bool> held_;
    std::vector<pid_t> pids_;
};

Restlessness watch(Trial& trial, std::chrono::seconds time) {
    const Holdings holdings(trial.lab());
    const lab::Witness witness;
    std::this_thread::sleep_for(time);
    return {holdings.moves(), std::chrono::duration<double>(time).count() / 60,
            static_cast<double>(witness.latest().count()) / 1e6};
}

}  // namespace

std::optional<double> seconds_both_answer(Trial& trial, Breach breach) {
    const std::string active = trial.settle();
    const std::string passive = other(active);
    lab::Lab& lab = trial.lab();
    const std::string match = heartbeats_of(trial.setup().product);
    const lab::AddressObserver observer(lab.host("obs"), "eth0", first_address);
    const auto begin = lab::Clock::now();
    auto window = 12s;
    const auto drop_at = [&](const std::string& node) {
        for (const char* interface : {"eth0", "eth1"}) lab.drop(node, interface, match);
    };
    switch (breach) {
        case Breach::killed:
            window = 14s;
            trial.strike_down(active, Fault::killed_kernel);
            break;
        case Breach::frozen:
            window = 14s;
            trial.strike_down(active, Fault::frozen_kernel);
            std::this_thread::sleep_for(8s);
            trial.repair(active, Fault::frozen_kernel);
            break;
        case Breach::one_way:
            drop_at(passive);
            break;
        case Breach::heartbeats_cut:
            drop_at(passive);
            drop_at(active);
            break;
        case Breach::one_more_address:
            window = 10s;
            if (!trial.contender().add_address(passive)) return std::nullopt;
            break;
    }
    std::this_thread::sleep_until(begin + window);
    const lab::ObserverReport report = observer.report();
    const double whole = std::chrono::duration<double>(lab::Clock::now() - begin).count();
    return report.asked == 0 ? 0 : whole * static_cast<double>(report.two_answered) / static_cast<double>(report.asked);
}

Restlessness under_load(Trial& trial, unsigned windows, std::chrono::seconds each) {
    Restlessness sum;
    for (unsigned i = 0; i < windows; ++i) {
        static_cast<void>(trial.settle());
        const lab::Burners burners(8);
        const Restlessness one = watch(trial, each);
        sum = {sum.moves + one.moves, sum.minutes + one.minutes, std::max(sum.late_ms, one.late_ms)};
    }
    return sum;
}

Restlessness with_loss(Trial& trial, unsigned percent, std::chrono::seconds time) {
    static_cast<void>(trial.settle());
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) trial.lab().drop(node, interface, "", percent);
    const Restlessness found = watch(trial, time);
    for (const char* node : {"lb1", "lb2"}) trial.lab().heal(node);
    return found;
}

}  // namespace lbcluster::bench
