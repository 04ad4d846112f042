"""What the page shows beside the predictions: runs, nets and samples."""

from fastapi import APIRouter

router = APIRouter()
