"""Local matching: keypoints of photographs, and how many of them two photographs share."""
