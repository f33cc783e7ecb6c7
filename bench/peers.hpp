// Who checks: healthd, HAProxy and keepalived behind one face, each with the same plan in its own language.
//
// A peer runs in the checker's namespace, as its package would start it. What it says about servers that went down is
// noted with our clock when it is heard: healthd on its bus, the others in what they log. One peer runs at a time.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "bench/targets.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster::bench {

enum class Kind { connect, http };
std::string word_of(Kind kind);
std::string lower(std::string text);  // names as they are given on the command line

// Targets 0 to targets - 1, dealt out to the services. Everybody: interval 1 s, timeout 1 s, 3 failures in a row are
// down, 2 successes are up.
struct Plan {
    Kind kind = Kind::connect;
    std::size_t targets = 0;
    std::size_t services = 10;
};
inline constexpr std::chrono::seconds check_interval{1};
inline constexpr std::chrono::seconds check_timeout{1};
inline constexpr int check_fall = 3;

class Peer {
  public:
    struct File {
        std::string name;
        std::string text;
    };

    explicit Peer(std::string name) : name_(std::move(name)) {}
    virtual ~Peer() = default;
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] virtual std::string version() const = 0;  // empty: it is not installed
    [[nodiscard]] virtual std::vector<File> files(const Plan& plan) const = 0;
    // From a server's death to the verdict, at worst. Here: of who lets a whole interval pass after each timeout.
    [[nodiscard]] virtual std::chrono::seconds detection_limit() const {
        return check_fall * (check_interval + check_timeout);
    }
    // Words of its command line; its files are in `folder`.
    [[nodiscard]] virtual std::vector<std::string> command(const std::string& folder) const = 0;

    // Throws when it cannot even be started.
    void start(const lab::Namespace& where, const Plan& plan, const std::string& folder);
    void stop();
    [[nodiscard]] bool running();
    [[nodiscard]] pid_t pid() const { return pid_; }
    // What it said last that sounds like a reason for its end.
    [[nodiscard]] virtual std::string last_words();
    // What it says of its own work while it runs, if that explains odd figures.
    [[nodiscard]] virtual std::string remark() { return ""; }

    // Servers that went down since the last forget_downs(), and when that was first heard; those that are down now.
    [[nodiscard]] std::map<std::size_t, lab::TimePoint> downs();
    [[nodiscard]] std::size_t down_now();
    void forget_downs();

  protected:
    virtual void started(const std::string& /*folder*/) {}
    virtual void stopping() {}
    struct Word {
        std::size_t target = 0;
        bool down = false;
    };
    // What this line says of a server.
    [[nodiscard]] virtual std::optional<Word> word_in(const std::string& line) const = 0;
    void note(const Word& word);

  private:
    void listen(int pipe);

    const std::string name_;
    pid_t pid_ = -1;
    std::thread listener_;
    std::mutex mutex_;
    std::map<std::size_t, lab::TimePoint> downs_;
    std::set<std::size_t> down_now_;
    std::vector<std::string> lines_;  // the first and the last ones
};

// In the order of the tables.
std::vector<std::unique_ptr<Peer>> all_peers();

}  // namespace lbcluster::bench
