#include "bench/peers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <ctime>
#include <filesystem>

#include "bench/page.hpp"
#include "lbcluster/bus/request.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::bench {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t lines_kept = 200;

std::string service_address(std::size_t service) { return "10.49.0." + std::to_string(100 + service); }

// The number after `before` and the letter s: our label of a server.
std::optional<std::size_t> label_after(const std::string& text, const std::string& before) {
    std::size_t at = text.find(before);
    if (at == std::string::npos) return std::nullopt;
    at += before.size();
    std::size_t end = at;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end])) != 0) ++end;
    if (end == at || end - at > 6) return std::nullopt;
    return std::stoul(text.substr(at, end - at));
}

template <class Line>
std::string of_each_server(const Plan& plan, std::size_t service, const Line& line) {
    std::string text;
    for (std::size_t i = service; i < plan.targets; i += plan.services) text += line(i);
    return text;
}

class Healthd final : public Peer {
  public:
    Healthd() : Peer("healthd") {}

    std::string version() const override {
        const std::string commit = version_line({"git", "-C", LBCLUSTER_SOURCE_DIR, "rev-parse", "--short", "HEAD"});
        return version_line({lab::healthd_path(), "--version"}) + (commit.empty() ? "" : ", commit " + commit);
    }

    std::vector<File> files(const Plan& plan) const override {
        const std::string check = plan.kind == Kind::connect
                                      ? "type: connect"
                                      : "type: negotiate, protocol: http, request: /health, host: bench";
        std::string text = "virtual_services:\n";
        for (std::size_t service = 0; service < plan.services; ++service) {
            text += "  - label: web" + std::to_string(service) + "\n    address: " + service_address(service) +
                    "\n    ports: [80]\n    check: {" + check +
                    ", interval: 1s, timeout: 1s, fall: 3, rise: 2}\n    real_servers:\n" +
                    of_each_server(plan, service, [](std::size_t i) {
                        return "      - {label: s" + std::to_string(i) + ", address: " + Targets::address(i) + "}\n";
                    });
        }
        return {{"cluster.yaml", text}, {"node.yaml", "node: lb1\nrole: primary\ninterfaces: {lan: eth0}\n"}};
    }

    std::chrono::seconds detection_limit() const override { return check_fall * check_interval + check_timeout; }

    std::vector<std::string> command(const std::string& folder) const override {
        return {lab::healthd_path(), "--config-dir", folder,           "--run-dir",
                folder + "/run",     "--state-dir",  folder + "/state"};
    }

    std::string remark() override {
        const auto items = bus::fetch(socket_, "health", 5s);
        if (!items.ok() || items.value().empty()) return "";
        const auto& counters = items.value().front().health().counters();
        const auto count = [&](const char* name) { return counters.contains(name) ? counters.at(name) : 0; };
        if (count("late_loops") + count("excused") == 0) return "";
        return "its loop came late " + std::to_string(count("late_loops")) + " times, " +
               std::to_string(count("excused")) + " failures were excused";
    }

  protected:
    // Its log names the first changes of a second only; the bus has them all.
    std::optional<Word> word_in(const std::string& /*line*/) const override { return std::nullopt; }

    void started(const std::string& folder) override {
        stop_ = false;
        socket_ = folder + "/run/healthd.sock";
        watcher_ = std::thread([this] {
            const auto on_items = [this](bool /*first*/, const std::vector<bus::Item>& items) {
                for (const bus::Item& item : items) {
                    const std::string& health = item.server().health();
                    const auto target = label_after(item.server().server(), "s");
                    if (target && (health == "down" || health == "up")) note({*target, health == "down"});
                }
                return !stop_;
            };
            // Again until it listens; what ends the connection is its end, which running() sees.
            while (!stop_ && !bus::follow(socket_, "server/", on_items, 5s, 200ms).ok())
                std::this_thread::sleep_for(50ms);
        });
    }
    void stopping() override {
        stop_ = true;
        if (watcher_.joinable()) watcher_.join();
    }

  private:
    std::string socket_;
    std::atomic<bool> stop_ = false;
    std::thread watcher_;
};

class Haproxy final : public Peer {
  public:
    Haproxy() : Peer("HAProxy") {}

    std::string version() const override { return version_line({"haproxy", "-v"}); }

    std::vector<File> files(const Plan& plan) const override {
        std::string text =
            "global\n    maxconn 100\ndefaults\n    mode tcp\n    timeout connect 1s\n    timeout client 30s\n"
            "    timeout server 30s\n    timeout check 1s\n    default-server check inter 1s fall 3 rise 2\n";
        const std::string check = plan.kind == Kind::connect
                                      ? ""
                                      : "    option httpchk\n    http-check send meth GET uri /health ver HTTP/1.1 hdr "
                                        "Host bench hdr Connection close\n    http-check expect status 200-399\n";
        for (std::size_t service = 0; service < plan.services; ++service) {
            text += "listen web" + std::to_string(service) + "\n    bind " + service_address(service) +
                    ":80 transparent\n" + check + of_each_server(plan, service, [](std::size_t i) {
                        return "    server s" + std::to_string(i) + " " + Targets::address(i) + ":80\n";
                    });
        }
        return {{"haproxy.cfg", text}};
    }

    std::vector<std::string> command(const std::string& folder) const override {
        return {"haproxy", "-db", "-f", folder + "/haproxy.cfg"};
    }

  protected:
    // "Server web0/s10 is DOWN, reason: Layer4 timeout, ..."
    std::optional<Word> word_in(const std::string& line) const override {
        const bool down = line.find(" is DOWN") != std::string::npos;
        const auto target = label_after(line, "/s");
        if (!target || (!down && line.find(" is UP") == std::string::npos)) return std::nullopt;
        return Word{*target, down};
    }
};

// Three looks are a first one and two retries. It has no `rise`.
class Keepalived final : public Peer {
  public:
    Keepalived() : Peer("keepalived") {}

    std::string version() const override { return version_line({"keepalived", "-v"}); }

    std::vector<File> files(const Plan& plan) const override {
        const std::string pace = "connect_timeout 1\n            retry 2\n            delay_before_retry 1\n";
        const std::string check =
            plan.kind == Kind::connect
                ? "        TCP_CHECK {\n            " + pace + "        }\n"
                : "        HTTP_GET {\n            url {\n                path /health\n                status_code "
                  "200-399\n            }\n            " +
                      pace + "        }\n";
        std::string text = "global_defs {\n    router_id bench\n}\n";
        for (std::size_t service = 0; service < plan.services; ++service) {
            text += "virtual_server " + service_address(service) +
                    " 80 {\n    delay_loop 1\n    lvs_sched wlc\n    lvs_method DR\n    protocol TCP\n" +
                    of_each_server(plan, service,
                                   [&](std::size_t i) {
                                       return "    real_server " + Targets::address(i) + " 80 {\n" + check + "    }\n";
                                   }) +
                    "}\n";
        }
        return {{"keepalived.conf", text}};
    }

    std::vector<std::string> command(const std::string& folder) const override {
        return {"keepalived",
                "--check",
                "--dont-fork",
                "--log-console",
                "--no-syslog",
                "--use-file",
                folder + "/keepalived.conf",
                "--pid",
                folder + "/keepalived.pid",
                "--checkers_pid",
                folder + "/checkers.pid"};
    }

    // Without date and time.
    std::string last_words() override {
        std::string words = Peer::last_words();
        std::tm time{};
        if (const char* rest = ::strptime(words.c_str(), "%a %b %d %H:%M:%S %Y: ", &time)) words = rest;
        if (words.find("initialize ipvs") != std::string::npos)
            words += " (its checker ends where the kernel has no IPVS; tests/ipvs/bed.sh gives one)";
        return words;
    }

  protected:
    // "Removing service [10.50.0.1]:tcp:80 from VS [10.49.0.100]:tcp:80", "Adding service [...] to VS ..."
    std::optional<Word> word_in(const std::string& line) const override {
        const bool down = line.find("Removing service [") != std::string::npos;
        if (!down && line.find("Adding service [") == std::string::npos) return std::nullopt;
        const std::size_t begin = line.find('[') + 1;
        const std::size_t target = Targets::target_of(line.substr(begin, line.find(']', begin) - begin));
        return target < Targets::max ? std::optional(Word{target, down}) : std::nullopt;
    }
};

bool sounds_like_a_reason(const std::string& line) {
    const std::string text = lower(line);
    for (const char* word : {"can't", "cannot", "error", "alert", "fail", "critical"})
        if (text.find(word) != std::string::npos) return true;
    return false;
}

}  // namespace

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

std::string word_of(Kind kind) { return kind == Kind::connect ? "connect" : "HTTP"; }

void Peer::start(const lab::Namespace& where, const Plan& plan, const std::string& folder) {
    std::filesystem::remove_all(folder);
    for (const char* sub : {"/run", "/state"}) std::filesystem::create_directories(folder + sub);
    for (const File& file : files(plan)) lab::write_file(folder + "/" + file.name, file.text);
    downs_.clear();
    down_now_.clear();
    lines_.clear();
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) lab::fail_errno("pipe");
    listener_ = std::thread([this, end = pipe[0]] { listen(end); });
    try {
        pid_ = lab::spawn(&where, lab::Spawn{command(folder), {}, -1, pipe[1], pipe[1]});
    } catch (const std::exception&) {
        ::close(pipe[1]);
        listener_.join();
        throw;
    }
    ::close(pipe[1]);
    started(folder);
}

void Peer::listen(int pipe) {
    std::string text;
    std::array<char, 65536> buffer{};
    for (ssize_t bytes = 0; (bytes = ::read(pipe, buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<std::size_t>(bytes));
        std::size_t begin = 0;
        for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
            std::string line = text.substr(begin, end - begin);
            if (const auto word = word_in(line)) note(*word);
            const std::lock_guard lock(mutex_);
            if (lines_.size() >= lines_kept) lines_.erase(lines_.begin() + lines_kept / 2);
            lines_.push_back(std::move(line));
        }
        text.erase(0, begin);
    }
    ::close(pipe);
}

bool Peer::running() {
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
}

void Peer::stop() {
    stopping();
    if (running()) {
        ::kill(pid_, SIGTERM);
        if (!lab::wait_until([this] { return !running(); }, 10s, 5ms)) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
    }
    if (listener_.joinable()) listener_.join();
}

std::string Peer::last_words() {
    const std::lock_guard lock(mutex_);
    for (const std::string& line : lines_)
        if (sounds_like_a_reason(line)) return line;
    return lines_.empty() ? "it ended without a word" : lines_.back();
}

void Peer::note(const Word& word) {
    const auto now = lab::Clock::now();
    const std::lock_guard lock(mutex_);
    if (!word.down) {
        down_now_.erase(word.target);
    } else if (down_now_.insert(word.target).second) {
        downs_.try_emplace(word.target, now);
    }
}

std::map<std::size_t, lab::TimePoint> Peer::downs() {
    const std::lock_guard lock(mutex_);
    return downs_;
}

std::size_t Peer::down_now() {
    const std::lock_guard lock(mutex_);
    return down_now_.size();
}

void Peer::forget_downs() {
    const std::lock_guard lock(mutex_);
    downs_.clear();
}

std::vector<std::unique_ptr<Peer>> all_peers() {
    std::vector<std::unique_ptr<Peer>> list;
    list.push_back(std::make_unique<Healthd>());
    list.push_back(std::make_unique<Haproxy>());
    list.push_back(std::make_unique<Keepalived>());
    return list;
}

}  // namespace lbcluster::bench
