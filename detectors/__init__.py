"""Rules and analytics: from events to matches and alerts."""
