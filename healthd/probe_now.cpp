#include "healthd/probe_now.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "lbcluster/base/clock.hpp"

namespace lbcluster::health {

namespace {

std::string_view word_of(Finding finding) {
    switch (finding) {
        case Finding::up:
            return "up";
        case Finding::standby:
            return "standby";
        case Finding::down:
            return "down";
        case Finding::unusable:
            break;
    }
    return "unusable";
}

constexpr std::size_t transcripts_bytes_max = 128UL * 1024;  // while others are still asked
constexpr std::size_t transcript_bytes_kept = 2048;
constexpr std::size_t transcript_bytes_min = 200;  // less of it says nothing

bool cut(std::string& text, std::size_t bytes_max) {
    constexpr std::string_view mark = "\n... (cut)\n";
    if (text.size() <= bytes_max) return false;
    text.resize(bytes_max < mark.size() ? 0 : bytes_max - mark.size());
    if (!text.empty()) text += mark;
    return true;
}

bool is_good(const bus::ProbeReport& report) { return report.finding() == "up" || report.finding() == "standby"; }

std::string heading_of(const ProbeSpec& spec) {
    return "-- " + spec.address.to_string() + (spec.port == 0 ? "" : " port " + std::to_string(spec.port)) + "\n";
}

}  // namespace

// One server: all leaves of its check, one deadline.
class ProbeNow::Round {
  public:
    Round(ProbeNow& owner, std::size_t index)
        : owner_(owner),
          index_(index),
          timer_(owner.io_),
          probes_(target().leaves.size()),
          transcripts_(probes_.size()),
          leaves_(probes_.size()) {}

    void start() {
        started_ = boottime_now();
        timer_.expires_after(target().timeout);
        timer_.async_wait([this](const boost::system::error_code& error) {
            if (!error) time_out();
        });
        running_ = probes_.size();
        for (std::size_t leaf = 0; leaf < probes_.size(); ++leaf) {
            auto made = owner_.factory_.make(target().leaves[leaf]);
            if (!made) {
                leaf_ended(leaf, {Finding::unusable, made.error().message});
                continue;
            }
            probes_[leaf] = std::move(*made);
            probes_[leaf]->start([this, leaf](Outcome outcome) { leaf_ended(leaf, std::move(outcome)); },
                                 &transcripts_[leaf]);
        }
    }

  private:
    [[nodiscard]] Target& target() const { return owner_.subjects_[index_].target; }

    void time_out() {
        for (std::size_t leaf = 0; leaf < probes_.size(); ++leaf) {
            if (leaves_[leaf].stage == LeafState::Stage::ended) continue;
            const std::string reached = probes_[leaf]->stop();
            leaf_ended(leaf, {Finding::down, timeout_reason(reached, target().timeout)});
        }
    }

    void leaf_ended(std::size_t leaf, Outcome outcome) {
        leaves_[leaf].stage = LeafState::Stage::ended;
        leaves_[leaf].outcome = std::move(outcome);
        if (--running_ > 0) return;
        timer_.cancel();
        report();
        // Not from inside a probe that the owner is about to destroy.
        boost::asio::post(owner_.io_, [&owner = owner_, index = index_, alive = std::weak_ptr<bool>(alive_)] {
            if (alive.lock()) owner.ended(index);
        });
    }

    void report() {
        bus::ProbeReport& out = owner_.subjects_[index_].report;
        const Finding finding = evaluate(target().tree, leaves_).value_or(Finding::unusable);
        out.set_finding(std::string(word_of(finding)));
        out.set_reason(reason_of(target(), leaves_, finding));
        out.set_took_us(static_cast<std::uint64_t>((boottime_now() - started_) / 1us));
        std::string text;
        for (std::size_t leaf = 0; leaf < probes_.size(); ++leaf) {
            if (probes_.size() > 1) text += heading_of(target().leaves[leaf]);
            text += transcripts_[leaf].text();
        }
        cut(text, std::max(transcripts_bytes_max / owner_.subjects_.size(), transcript_bytes_kept));
        out.set_transcript(std::move(text));
    }

    ProbeNow& owner_;
    std::size_t index_;
    boost::asio::steady_timer timer_;
    std::vector<std::unique_ptr<Probe>> probes_;
    std::vector<Transcript> transcripts_;
    std::vector<LeafState> leaves_;
    std::size_t running_ = 0;
    Instant started_{};
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

ProbeNow::ProbeNow(boost::asio::io_context& io, ProbeFactory& factory, std::vector<Subject> subjects, Done done)
    : io_(io), factory_(factory), subjects_(std::move(subjects)), done_(std::move(done)), rounds_(subjects_.size()) {}

ProbeNow::~ProbeNow() = default;

void ProbeNow::start() {
    while (next_ < subjects_.size() && next_ < at_once) begin_next();
}

void ProbeNow::begin_next() {
    const std::size_t index = next_++;
    rounds_[index] = std::make_unique<Round>(*this, index);
    rounds_[index]->start();
}

void ProbeNow::ended(std::size_t index) {
    rounds_[index].reset();
    ++ended_;
    if (next_ < subjects_.size()) return begin_next();
    if (ended_ < subjects_.size()) return;
    std::vector<bus::ProbeReport> reports;
    for (Subject& subject : subjects_) reports.push_back(std::move(subject.report));
    const Done done = std::move(done_);
    done(std::move(reports));  // may destroy this
}

// A service has 1024 servers at most, and a label 63 bytes: shortened that much it always fits.
std::string ProbeNow::fit(std::vector<bus::ProbeReport>& reports) {
    constexpr std::size_t around = 16;  // tags and lengths
    std::size_t fixed = 0;
    std::size_t reasons = 0;
    std::size_t transcripts = 0;
    for (const bus::ProbeReport& report : reports) {
        reasons += report.reason().size();
        transcripts += report.transcript().size();
        fixed += report.ByteSizeLong() - report.reason().size() - report.transcript().size() + around;
    }
    if (fixed + reasons + transcripts <= bytes_max) return "";
    std::size_t room = bytes_max - std::min(bytes_max, fixed);
    std::string note = "the answer is too long, so transcripts are cut";
    if (reasons > room) {
        note = "the answer is too long, so transcripts and reasons are cut";
        const std::size_t share = std::max<std::size_t>(room / reports.size(), 3);
        for (bus::ProbeReport& report : reports) {
            if (report.reason().size() <= share) continue;
            report.mutable_reason()->resize(share - 3);
            report.mutable_reason()->append("...");
        }
    }
    for (const bus::ProbeReport& report : reports) room -= std::min(room, report.reason().size());
    for (const bool good : {false, true}) {
        auto left = static_cast<std::size_t>(std::count_if(
            reports.begin(), reports.end(), [&](const bus::ProbeReport& report) { return is_good(report) == good; }));
        for (bus::ProbeReport& report : reports) {
            if (is_good(report) != good) continue;
            const std::size_t share = room / left--;
            if (share < transcript_bytes_min) report.clear_transcript();
            else cut(*report.mutable_transcript(), share);
            room -= report.transcript().size();
        }
    }
    return note + "; name one server to see all of it";
}

}  // namespace lbcluster::health
