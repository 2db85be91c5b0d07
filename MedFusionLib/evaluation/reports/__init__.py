"""What a fusion is shown with: reports, pictures and plots."""
