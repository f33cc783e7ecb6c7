// HA-2, HA-4, HA-7: random faults in virtual time; then everything is healed and exactly one node is to serve.
//
// Checked after every event, against the model of the kernels and not against the daemons' opinion:
//   - While a heartbeat path is whole in both directions and both daemons run, two kernels answer no longer than
//     the claims need to settle. While only the address probe is whole (both kernels on the LAN, nothing lost),
//     no longer than the probe needs. Everything else is what two nodes cannot see, and is exempt.
//   - An active node holds the addresses.
//   - A node that is neither active nor taking over holds no address longer than its lease.
//   - Claims of one node never go down. No command is answered twice, and none stays unanswered.
// A seed that once failed stays in the list below. LBCLUSTER_FULL=1 runs more of them, LBCLUSTER_SEED=n that one.
#include <gtest/gtest.h>

#include <cstdlib>

#include "pair.hpp"

namespace lbcluster::heartbeat::testing {
namespace {

class Chaos {
  public:
    explicit Chaos(std::uint64_t seed) : random_(seed), pair_([this](Settings& s) { vary(s); }, seed), seed_(seed) {
        pair_.taping = false;
        pair_.watch = [this] { look(); };
        pair_.passes = [this](std::size_t from, std::uint32_t link) { return !cut_[from][link % 2]; };
    }

    void run() {
        say("start");
        for (std::size_t i = 0; i < 2; ++i) {
            if (pick(8) != 0) pair_.start(i);
        }
        if (pick(4) != 0) pair_.run(3s);
        const Instant end = pair_.now + 20s;
        while (pair_.now < end) {
            pair_.run(milliseconds{pick(2) == 0 ? pick(100) : pick(1500)});
            fault();
        }
        heal();
        expect_peace();
    }

  private:
    std::uint64_t pick(std::uint64_t below) { return random_() % below; }

    // Called once a node; the variants must be the same on both.
    void vary(Settings& s) {
        if (!drawn_) {
            for (auto& d : draw_) d = pick(6);
            drawn_ = true;
        }
        if (draw_[0] < 2) s.ping_nodes.clear();
        if (draw_[1] < 2) s.links.resize(1);
        if (draw_[2] == 0) s.isolation = Isolation::strict;
        if (draw_[2] == 1) s.isolation = Isolation::hold;
        if (draw_[3] == 0) s.address_probe = AddressProbe::off;
        if (draw_[3] == 1) s.address_probe = AddressProbe::arp_echo;
        if (draw_[4] == 0) {
            s.auto_failback = true;
            s.failback_delay = 2s;
        }
        if (draw_[5] == 0) s.primary = true;
        links_ = s.links.size();
    }

    void say(const std::string& what) {
        story_ += "\n  " + std::to_string(std::chrono::duration<double>(pair_.now - begun_).count()) + " " + what;
    }

    void fault() {
        const std::size_t i = pick(2);
        const std::string who = pair_.nodes[i].name;
        Node& n = pair_.nodes[i];
        // What is broken is repaired about as often as something breaks.
        if (!n.power) return (say("power on " + who), pair_.power_on(i));
        if (!n.core) return (say("start " + who), pair_.start(i));
        if (n.frozen && pick(2) == 0) return (say("thaw " + who), pair_.thaw(i));
        switch (pick(14)) {
            case 0:
                return (say("kill " + who), pair_.kill(i));
            case 1:
            case 2:
                if (n.frozen) return;
                return (say("freeze " + who), pair_.freeze(i));
            case 3:
                return (say("power off " + who), pair_.power_off(i));
            case 4:
            case 5:
                return (say((n.cable ? "unplug " : "plug ") + who), pair_.set_cable(i, !n.cable));
            case 6:
                pair_.loss = pick(2) == 0 ? 0 : static_cast<double>(pick(31)) / 100;
                return say("loss " + std::to_string(pair_.loss));
            case 7:
            case 8:
                return cut(i, pick(2));
            case 9:
                for (const std::size_t link : {0U, 1U}) {
                    if (cut_[i][link] == (pick(3) == 0)) cut(i, link);
                }
                return;
            case 10:
                pair_.gateway = !pair_.gateway;
                return say(pair_.gateway ? "gateway back" : "gateway gone");
            case 11:
                return command(i, static_cast<CommandKind>(pick(4)));
            case 12:
                return command(i, pick(2) == 0 ? CommandKind::activate : CommandKind::unstandby);
            default:
                if (n.frozen) return;
                if (pick(2) == 0) return (say("stop " + who), pair_.stop(i));
                return reload(i);
        }
    }

    void cut(std::size_t from, std::size_t link) {
        cut_[from][link] = !cut_[from][link];
        say((cut_[from][link] ? "cut from " : "heal from ") + pair_.nodes[from].name + " link " + std::to_string(link));
    }

    void reload(std::size_t i) {
        say("reload " + pair_.nodes[i].name);
        pair_.reload(i, [&](Settings& s) {
            s.config_digest = pick(3) == 0 ? 8 : 7;
            if (pick(3) == 0) s.floating_ips.resize(1);
            else if (pick(3) == 0) s.floating_ips.resize(2, {*IpPrefix::parse("10.77.0.201"), "eth0", ""});
            if (pick(4) == 0) s.deadtime = 1s + milliseconds{pick(3) * 500};
        });
    }

    void command(std::size_t i, CommandKind kind) {
        Node& n = pair_.nodes[i];
        if (!n.core || n.frozen) return;
        const bool force = pick(4) == 0;
        static constexpr const char* words[] = {"activate", "standby", "unstandby", "restart"};
        say(std::string(words[static_cast<int>(kind)]) + (force ? " --force " : " ") + n.name);
        asked_[i].push_back({++command_, n.generation, kind});
        pair_.command(i, kind, force, command_);
    }

    void heal() {
        say("heal");
        pair_.loss = 0;
        pair_.gateway = true;
        for (auto& row : cut_) row = {false, false};
        for (std::size_t i = 0; i < 2; ++i) {
            Node& n = pair_.nodes[i];
            if (n.frozen) pair_.thaw(i);
            if (!n.power) pair_.power_on(i);
            else if (!n.core) pair_.start(i);
            pair_.set_cable(i, true);
            pair_.reload(i, [](Settings& s) {
                s.config_digest = 7;
                s.deadtime = 1s;
                s.floating_ips.resize(1);
            });
        }
        // An orderly stop that is under way ends first.
        pair_.run(8s);
        for (std::size_t i = 0; i < 2; ++i) {
            if (!pair_.nodes[i].core) pair_.start(i);
            command(i, CommandKind::unstandby);
        }
    }

    void expect_peace() {
        const auto one = [&] {
            const std::size_t a = pair_.active(0) ? 0 : 1;
            return pair_.active(a) && pair_.passive(1 - a) && pair_.answers(a) && !pair_.holds(1 - a);
        };
        if (!pair_.run_until(one, 8s)) return blame("no single active node after everything was healed");
        const bool failback = pair_.nodes[0].settings.auto_failback;
        const auto moves = pair_.nodes[0].moves + pair_.nodes[1].moves;
        for (Node& n : pair_.nodes) n.notes.clear();
        pair_.run(7s);
        if (!one()) blame("not one active node at the end");
        if (pair_.nodes[0].moves + pair_.nodes[1].moves > moves + (failback ? 1 : 0) + late_moves_allowed()) {
            blame("it moved in peace");
        }
        for (Node& n : pair_.nodes) {
            if (n.notes.size() > 40) blame(n.name + " noted " + std::to_string(n.notes.size()) + " events in peace");
        }
        check_answers();
    }

    // One fitness hand-over that was due may still come.
    static unsigned late_moves_allowed() { return 1; }

    void check_answers() {
        bool waiting = false;
        for (int round = 0; round < 2; ++round) {
            waiting = false;
            for (std::size_t i = 0; i < 2; ++i) {
                for (const Asked& asked : asked_[i]) {
                    const auto count = std::count_if(pair_.nodes[i].answers.begin(), pair_.nodes[i].answers.end(),
                                                     [&](const Answer& a) { return a.id == asked.id; });
                    if (count > 1) blame("command " + std::to_string(asked.id) + " was answered twice");
                    if (count == 0 && asked.generation == pair_.nodes[i].generation) waiting = true;
                }
            }
            if (waiting && round == 0) pair_.run(31s);
        }
        if (waiting) blame("a command was never answered");
    }

    // ---- after each event ----

    [[nodiscard]] bool runs(std::size_t i) const { return pair_.nodes[i].core && !pair_.nodes[i].frozen; }

    [[nodiscard]] bool path_whole() const {
        if (!runs(0) || !runs(1)) return false;
        for (std::size_t link = 0; link < links_; ++link) {
            const bool lan = link == 0 && (!pair_.nodes[0].cable || !pair_.nodes[1].cable);
            if (!lan && !cut_[0][link] && !cut_[1][link]) return true;
        }
        return false;
    }
    [[nodiscard]] bool probe_whole() const {
        return runs(0) && runs(1) && pair_.loss == 0 && draw_[3] != 0 && pair_.nodes[0].cable && pair_.nodes[1].cable;
    }

    void look() {
        const Instant now = pair_.now;
        turns_ = now == last_look_ ? turns_ + 1 : 0;
        last_look_ = now;
        if (turns_ > 10'000) {
            blame("time stands still");
            std::abort();
        }
        const auto since = [&](std::optional<Instant>& begin, bool holds) {
            if (!holds) begin.reset();
            else if (!begin) begin = now;
            return begin ? now - *begin : Duration{0};
        };
        const bool both = pair_.answers(0) && pair_.answers(1);
        // A lost heartbeat is followed by the next; four in a row on every link are rare at 30 %.
        const Duration bound = pair_.loss > 0 ? 1s : 300ms + 10ms;
        if (since(dual_path_, both && path_whole()) > bound) blame("both answered while a heartbeat path was whole");
        // Not heard for 2 x deadtime (at most 2 s), one probe, and the patience of the one who yields last.
        if (since(dual_probe_, both && probe_whole()) > 2 * 2s + 250ms + 3s + 2s + 500ms) {
            blame("both answered although the address probe could tell");
        }
        for (std::size_t i = 0; i < 2; ++i) {
            const Node& n = pair_.nodes[i];
            if (since(left_[i], pair_.holds(i) && !pair_.active(i)) > 3s + 2200ms) blame("left behind on " + n.name);
            // Without carrier nobody can ask whether an address is free, and nobody misses it.
            if (since(empty_[i], pair_.active(i) && runs(i) && n.cable && !pair_.holds(i)) > 500ms) {
                blame(n.name + " is active without the addresses");
            }
            if (!pair_.active(i)) continue;
            const std::uint64_t term = n.core->claim()->term;
            if (term < terms_[i]) blame("the term of " + n.name + " went down");
            terms_[i] = term;
        }
    }

    void blame(const std::string& what) {
        if (blamed_) return;
        blamed_ = true;
        say("==> " + what);
        std::string state;
        for (const Node& n : pair_.nodes) {
            state += "\n  " + n.name + ": " + (n.core ? Activity_Name(n.core->activity()) : "dead");
            for (std::size_t k = n.notes.size() > 12 ? n.notes.size() - 12 : 0; k < n.notes.size(); ++k) {
                state += "\n    " + n.notes[k].kind + ": " + n.notes[k].text;
            }
        }
        std::string draws;
        for (const auto d : draw_) draws += " " + std::to_string(d);
        ADD_FAILURE() << "seed " << seed_ << " draws" << draws << ": " << what << story_ << state;
    }

    struct Asked {
        std::uint64_t id;
        unsigned generation;
        CommandKind kind;
    };

    std::mt19937_64 random_;
    bool drawn_ = false;
    std::array<std::uint64_t, 6> draw_{};
    std::size_t links_ = 2;
    Pair pair_;
    std::uint64_t seed_;
    Instant begun_ = pair_.now;
    std::array<std::array<bool, 2>, 2> cut_{};
    std::string story_;
    bool blamed_ = false;
    std::uint64_t command_ = 0;
    std::vector<Asked> asked_[2];
    std::optional<Instant> dual_path_;
    std::optional<Instant> dual_probe_;
    std::optional<Instant> left_[2];
    std::optional<Instant> empty_[2];
    std::uint64_t terms_[2] = {0, 0};
    Instant last_look_{};
    unsigned turns_ = 0;
};

// Active again by a hand-over that was already lost, without the addresses.
TEST(ChaosTest, SeedsThatOnceFailed) {
    for (const std::uint64_t seed : {2052U, 2597U, 3084U, 4045U, 4938U}) Chaos(seed).run();
}

TEST(ChaosTest, EndsWithExactlyOneActiveNode) {
    const char* one = std::getenv("LBCLUSTER_SEED");
    if (one != nullptr) return Chaos(std::strtoull(one, nullptr, 10)).run();
    const char* full = std::getenv("LBCLUSTER_FULL");
    const std::uint64_t seeds = full != nullptr && *full == '1' ? 5000 : 300;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) Chaos(seed).run();
}

}  // namespace
}  // namespace lbcluster::heartbeat::testing
