// The feedback agent: a server says in one line how much it can take. `75%` or `75` of its weight; `up` (or `ready`),
// `drain`, `down` (or `stopped`, `fail`, `failed`, `maint`), as HAProxy's agent-check has them; a percentage and a word
// may stand together, separated by blanks or a comma: "up 75%". After `#` follows a remark. Anything else is an error.
//
// A line ends at its newline, after 256 bytes or when the server closes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "healthd/talk/talk.hpp"

namespace lbcluster::health {

struct FeedbackAnswer {
    std::optional<unsigned> percent;  // 0 to 100
    std::string state;                // "", "up", "drain", "down"
    std::string error;                // not empty: the rest is
};

inline constexpr std::size_t feedback_bytes_max = 256;

FeedbackAnswer parse_feedback(std::string_view line);

// `on_answer` is called once, just before the conversation is done with a good answer or a bad one; not when the server
// closes without a word.
std::unique_ptr<Talk> make_feedback_talk(std::function<void(const FeedbackAnswer&)> on_answer);

}  // namespace lbcluster::health
