#include "tests/ipvs/load.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

namespace lbcluster::lab {

Load::Load(const Namespace& host, const Question& question, unsigned clients, Nanoseconds pace) {
    for (unsigned i = 0; i < clients; ++i)
        threads_.emplace_back([this, &host, question, pace] { ask_forever(host, question, pace); });
}

Load::~Load() {
    ending_ = true;
    for (std::thread& thread : threads_) thread.join();
}

void Load::ask_forever(const Namespace& host, const Question& question, Nanoseconds pace) {
    host.enter();
    while (!ending_) {
        Attempt attempt;
        attempt.begun = Clock::now();
        attempt.answer = ask_from_here(question);
        attempt.ended = Clock::now();
        {
            const std::lock_guard lock(mutex_);
            attempts_.push_back(attempt);
        }
        std::this_thread::sleep_for(pace);
    }
}

std::vector<Attempt> Load::since(TimePoint begun) const {
    const std::lock_guard lock(mutex_);
    std::vector<Attempt> out;
    std::copy_if(attempts_.begin(), attempts_.end(), std::back_inserter(out),
                 [&](const Attempt& one) { return one.begun >= begun; });
    return out;
}

std::vector<Attempt> Load::failures_since(TimePoint begun) const {
    auto out = since(begun);
    std::erase_if(out, [](const Attempt& one) { return !one.failed(); });
    return out;
}

bool Load::wait_attempts(std::size_t count, Nanoseconds limit) const {
    const TimePoint now = Clock::now();
    return wait_until([&] { return since(now).size() >= count; }, limit, 20ms);
}

std::string text_of(const std::vector<Attempt>& attempts, TimePoint after) {
    std::map<std::string, unsigned> answers;
    std::vector<double> failed_s;
    for (const Attempt& one : attempts) {
        if (one.failed()) failed_s.push_back(std::chrono::duration<double>(one.begun - after).count());
        else ++answers[one.answer.server];
    }
    std::string out = std::to_string(failed_s.size()) + " of " + std::to_string(attempts.size()) + " failed";
    if (!failed_s.empty()) {
        const auto [first, last] = std::minmax_element(failed_s.begin(), failed_s.end());
        out += ", the first " + std::to_string(*first) + " s after it, the last " + std::to_string(*last) + " s";
    }
    for (const auto& [server, count] : answers) out += "; " + server + " " + std::to_string(count);
    return out;
}

}  // namespace lbcluster::lab
